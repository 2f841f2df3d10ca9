/// @file
/// The files of a reader, each opened when it is first read.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace shardwise {

/// Any number of threads; whoever comes first opens a file, and there is no lock after that.
template <class File>
class OpenedFiles {
   public:
    using Open = std::function<std::unique_ptr<File>(std::uint32_t file)>;

    OpenedFiles(std::size_t count, Open open) : open_(std::move(open)), entries_(count) {}

    File& operator[](std::uint32_t file) {
        auto& entry = entries_[file];
        std::call_once(entry.once, [&] { entry.file = open_(file); });
        return *entry.file;
    }

   private:
    struct Entry {
        std::once_flag once;
        std::unique_ptr<File> file;
    };

    Open open_;
    std::vector<Entry> entries_;
};

}  // namespace shardwise
