#include "util/json_reader.hpp"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

#include "util/suggest.hpp"

namespace shardwise {
namespace {

/// "file.json" -> "file.json: key" -> "file.json: key.key".
std::string member_path(std::string const& path, std::string const& key) {
    return fmt::format("{}{}{}", path, path.find(": ") == std::string::npos ? ": " : ".", key);
}

constexpr int kMaxDepth = 256;

/// Follows a parse and refuses what the parser lets through.
class StrictnessCheck {
   public:
    using Event = nlohmann::json::parse_event_t;

    explicit StrictnessCheck(std::string const& path) : path_(path) {}

    bool operator()(int depth, Event event, nlohmann::json const& parsed) {
        if (depth > kMaxDepth) { refuse(fmt::format("nested deeper than {}", kMaxDepth)); }
        if (event == Event::object_start) { keys_.emplace_back(); }
        if (event == Event::object_end) { keys_.pop_back(); }
        if (event != Event::key) { return true; }
        auto key = parsed.get<std::string>();
        auto const [at, is_new] = keys_.back().insert(std::move(key));
        if (!is_new) { refuse(fmt::format("the key '{}' is given twice", *at)); }
        return true;
    }

   private:
    [[noreturn]] void refuse(std::string const& what) const {
        throw Error(Errc::input, fmt::format("{}: {}", path_, what));
    }

    std::string const& path_;
    std::vector<std::set<std::string>> keys_;  ///< of every object that is open
};

}  // namespace

nlohmann::json parse_json(std::string_view text, std::string const& path) {
    try {
        StrictnessCheck check(path);
        return nlohmann::json::parse(text, std::ref(check));
    } catch (nlohmann::json::exception const& error) {
        throw Error(Errc::input, fmt::format("{}: {}", path, error.what()));
    }
}

void JsonReader::refuse(std::string const& what) const { throw Error(Errc::input, fmt::format("{}: {}", path_, what)); }

bool JsonReader::is_text() const { return value_->is_string(); }
bool JsonReader::is_object() const { return value_->is_object(); }

bool JsonReader::is_array() const {
    return value_->is_array();
}

std::string JsonReader::text() const {
    if (!value_->is_string()) { refuse(fmt::format("expected a text, found {}", value_->type_name())); }
    return value_->get<std::string>();
}

std::int64_t JsonReader::integer() const {
    if (!value_->is_number_integer()) { refuse(fmt::format("expected a whole number, found {}", value_->type_name())); }
    bool const fits = !value_->is_number_unsigned() || std::in_range<std::int64_t>(value_->get<std::uint64_t>());
    if (!fits) { refuse(fmt::format("expected a whole number below 2^63, found {}", value_->get<std::uint64_t>())); }
    return value_->get<std::int64_t>();
}

bool JsonReader::boolean() const {
    if (!value_->is_boolean()) { refuse(fmt::format("expected true or false, found {}", value_->type_name())); }
    return value_->get<bool>();
}

std::vector<JsonReader> JsonReader::array() const {
    if (!value_->is_array()) { refuse(fmt::format("expected a list, found {}", value_->type_name())); }
    std::vector<JsonReader> items;
    for (std::size_t i = 0; i < value_->size(); ++i) {
        items.emplace_back((*value_)[i], fmt::format("{}[{}]", path_, i));
    }
    return items;
}

std::vector<std::string> JsonReader::texts() const {
    if (value_->is_string()) { return {text()}; }
    std::vector<std::string> result;
    for (auto const& item : array()) { result.push_back(item.text()); }
    return result;
}

std::vector<std::pair<std::string, JsonReader>> JsonReader::members() const {
    if (!value_->is_object()) { refuse(fmt::format("expected an object, found {}", value_->type_name())); }
    std::vector<std::pair<std::string, JsonReader>> result;
    for (auto const& [key, value] : value_->items()) {
        result.emplace_back(key, JsonReader(value, member_path(path_, key)));
    }
    return result;
}

std::map<std::string, std::string> JsonReader::text_members() const {
    std::map<std::string, std::string> result;
    for (auto const& [key, value] : members()) { result.emplace(key, value.text()); }
    return result;
}

std::optional<JsonReader> JsonReader::find(std::string const& key) const {
    for (auto& [name, value] : members()) {
        if (name == key) { return value; }
    }
    return std::nullopt;
}

JsonReader JsonReader::operator[](std::string const& key) const {
    auto found = find(key);
    if (!found) { refuse(fmt::format("the key '{}' is missing", key)); }
    return *found;
}

void JsonReader::allow_only(std::initializer_list<std::string_view> keys) const {
    std::vector<std::string> const known(keys.begin(), keys.end());
    for (auto const& [key, value] : members()) {
        if (std::find(known.begin(), known.end(), key) != known.end()) { continue; }
        auto const near = nearest(key, known);
        refuse(fmt::format("unknown key '{}'; {}", key,
                           near.empty() ? fmt::format("known are {}", fmt::join(known, ", "))
                                        : fmt::format("the nearest known one is '{}'", near)));
    }
}

}  // namespace shardwise
