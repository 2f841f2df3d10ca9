/// @file
/// A folder that goes away with the test, and files made from texts.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace shardwise::test {

/// An empty folder below TMPDIR, or below a folder of the caller's choice.
class ScratchFolder {
   public:
    explicit ScratchFolder(std::filesystem::path const& parent = std::filesystem::temp_directory_path())
        : path_(parent / "shardwise-XXXXXX") {
        std::string name = path_.string();
        if (::mkdtemp(name.data()) == nullptr) {
            throw std::runtime_error("cannot make a folder in " + parent.string());
        }
        path_ = name;
    }
    ScratchFolder(ScratchFolder const&) = delete;
    ScratchFolder& operator=(ScratchFolder const&) = delete;
    ~ScratchFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    std::string path() const { return path_.string(); }
    std::string operator/(std::string_view name) const { return (path_ / name).string(); }

    /// Writes a file, making folders on the way, and returns its path.
    std::string write(std::string_view name, std::string_view content) const {
        auto const target = path_ / name;
        std::filesystem::create_directories(target.parent_path());
        std::ofstream file(target, std::ios::binary);
        file.write(content.data(), static_cast<std::streamsize>(content.size()));
        if (!file.flush()) { throw std::runtime_error("cannot write " + target.string()); }
        return target.string();
    }

    /// Names of everything in it, hidden files included, sorted.
    std::vector<std::string> names() const {
        std::vector<std::string> found;
        for (auto const& entry : std::filesystem::directory_iterator(path_)) {
            found.push_back(entry.path().filename());
        }
        std::sort(found.begin(), found.end());
        return found;
    }

   private:
    std::filesystem::path path_;
};

inline std::string content_of(std::string const& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) { throw std::runtime_error("cannot open " + path); }
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace shardwise::test
