/// @file
/// Strict reading of configuration JSON: every error says where and what was expected.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace shardwise {

/// The document in @p text.
/// @param path how errors call it: the file's name.
/// @throws Error input for malformed JSON, and for a key given twice in one object, of which one would be lost.
nlohmann::json parse_json(std::string_view text, std::string const& path);

/// A value of a JSON document together with its path in it. The document must outlive the reader.
class JsonReader {
   public:
    /// @param path how errors call the value; for a whole document, the file's name.
    JsonReader(nlohmann::json const& value, std::string path) : value_(&value), path_(std::move(path)) {}

    /// Throws Error input: "PATH: WHAT".
    [[noreturn]] void refuse(std::string const& what) const;

    bool is_text() const;
    bool is_object() const;
    bool is_array() const;

    /// The value as that type, or an error naming what was expected.
    std::string text() const;
    std::int64_t integer() const;
    bool boolean() const;
    std::vector<JsonReader> array() const;
    std::vector<std::string> texts() const;

    /// Members of an object in the order of their keys.
    std::vector<std::pair<std::string, JsonReader>> members() const;
    std::map<std::string, std::string> text_members() const;

    /// One member; required unless optional.
    JsonReader operator[](std::string const& key) const;
    std::optional<JsonReader> find(std::string const& key) const;

    /// Refuses any member that is not listed, naming the nearest one that is.
    void allow_only(std::initializer_list<std::string_view> keys) const;

    std::string const& path() const noexcept { return path_; }

   private:
    nlohmann::json const* value_;
    std::string path_;
};

}  // namespace shardwise
