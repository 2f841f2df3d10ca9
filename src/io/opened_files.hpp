/// @file
/// The files of a reader, each opened when it is first read.
#pragma once

#include <atomic>
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
        if (auto* const opened = entry.opened.load(std::memory_order_acquire)) { return *opened; }
        std::lock_guard const lock(entry.mutex);
        if (!entry.file) { entry.file = open_(file); }
        entry.opened.store(entry.file.get(), std::memory_order_release);
        return *entry.file;
    }

   private:
    struct Entry {  // not std::call_once, in which others hang under ThreadSanitizer when an open throws
        std::mutex mutex;
        std::unique_ptr<File> file;
        std::atomic<File*> opened = nullptr;
    };

    Open open_;
    std::vector<Entry> entries_;
};

}  // namespace shardwise
