#include "catalog/weight_map.hpp"

#include <cstring>
#include <filesystem>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <simdjson.h>

#include <shardwise/error.hpp>

#include "util/natural_order.hpp"

namespace shardwise {
namespace {

namespace fs = std::filesystem;
namespace ondemand = simdjson::ondemand;

[[noreturn]] void refuse(std::string text) {
    throw Error(Errc::input, std::move(text));
}

void require(simdjson::error_code error) {
    if (error != simdjson::SUCCESS) { refuse(fmt::format("not a JSON object: {}", simdjson::error_message(error))); }
}

/// An index must not reach out of its folder.
void check_listed_name(std::string_view name) {
    bool const is_plain = !name.empty() && fs::path(name).filename() == fs::path(name) && name != "." && name != ".." &&
                          name.find('\0') == std::string_view::npos;
    if (!is_plain) { refuse(fmt::format("'{}' is not a plain file name", name)); }
}

/// A document, and its parser, whose memory has texts with escapes in plain. That of many tensors is 10 MB of names,
/// which are not copied: they are views into this.
struct Text {
    std::string json;
    ondemand::parser parser;
};

/// The key of a member, in place unless it has escapes.
std::string_view key_of(ondemand::field& member) {
    auto const* const begin = member.key().raw();
    // The parser has seen the closing quote, and has refused zeros and other control characters in texts; a quote that
    // is not the closing one has an escape before it.
    std::string_view const in_place(begin, static_cast<std::size_t>(std::strchr(begin, '"') - begin));
    if (in_place.find('\\') == std::string_view::npos) { return in_place; }
    std::string_view key;
    require(member.unescaped_key().get(key));
    return key;
}

/// Calls @p visit(key, value) for every member.
template <class Visit>
void for_each_member(ondemand::object& object, Visit visit) {
    for (auto result : object) {
        ondemand::field member;
        require(std::move(result).get(member));
        auto const key = key_of(member);
        visit(key, member.value());
    }
}

/// Puts names of tensors with the file that each is given to.
class Collector {
   public:
    void add(std::string_view tensor, ondemand::value& value) {
        // Neighbours in the list mostly lie in one file.
        auto const token = value.raw_json_token();
        if (last_ == nullptr || token != last_token_) {
            last_ = &tensors_of(tensor, value);
            last_token_ = token;
        }
        last_->push_back(tensor);
    }

    WeightMap take() {
        WeightMap result;
        for (auto& [file, tensors] : tensors_of_) {
            result.files.push_back(file);
            result.tensors.push_back(std::move(tensors));
        }
        return result;
    }

   private:
    std::vector<std::string_view>& tensors_of(std::string_view tensor, ondemand::value& value) {
        std::string_view file;
        if (value.get_string().get(file) != simdjson::SUCCESS) {
            refuse(fmt::format("weight_map: '{}' has no file name", tensor));
        }
        check_listed_name(file);
        return tensors_of_[std::string(file)];
    }

    std::map<std::string, std::vector<std::string_view>, bool (*)(std::string_view, std::string_view)> tensors_of_{
        natural_file_less};
    std::vector<std::string_view>* last_ = nullptr;
    std::string_view last_token_;
};

}  // namespace

WeightMap parse_index(std::string json) {
    auto const text = std::make_shared<Text>();
    text->json = std::move(json);
    text->json.reserve(text->json.size() + simdjson::SIMDJSON_PADDING);
    ondemand::document document;
    require(text->parser.iterate(text->json).get(document));
    ondemand::object root;
    require(document.get_object().get(root));

    Collector collector;
    bool is_there = false;
    for_each_member(root, [&](std::string_view key, ondemand::value& value) {
        ondemand::object weight_map;
        if (key != "weight_map" || value.get_object().get(weight_map) != simdjson::SUCCESS) { return; }
        if (std::exchange(is_there, true)) { refuse("'weight_map' is given twice"); }
        for_each_member(weight_map,
                        [&](std::string_view tensor, ondemand::value& file) { collector.add(tensor, file); });
    });
    if (!is_there) { refuse("no object 'weight_map'"); }
    bool const is_at_end = document.current_location().error() == simdjson::OUT_OF_BOUNDS;
    if (!is_at_end) { refuse("not a JSON object: something follows it"); }
    auto result = collector.take();
    if (result.files.empty()) { refuse("weight_map is empty"); }
    result.text = text;
    return result;
}

}  // namespace shardwise
