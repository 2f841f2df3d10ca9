/// @file
/// A reader that fails at a chosen read.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "io/reader.hpp"

namespace shardwise::test {

/// Hands everything on to another reader but its @p nth request (from 0), which ends as the system's EIO does.
class FaultyReader final : public Reader {
   public:
    FaultyReader(std::unique_ptr<Reader> inner, std::vector<FileRecord> files, std::uint64_t nth)
        : inner_(std::move(inner)), files_(std::move(files)), nth_(nth) {}

    bool has_room() const noexcept override { return inner_->has_room(); }

    void submit(ReadRequest const& request) override {
        if (submitted_++ != nth_) { return inner_->submit(request); }
        Error const error(Errc::io,
                          fmt::format("read {} at {} for {} B: Input/output error", files_[request.range.file].path,
                                      request.range.begin, request.range.size_bytes));
        failed_.push_back({request.id, {}, error});
    }

    void start() override { inner_->start(); }

    void poll(std::vector<ReadResult>& results, Wait wait) override {
        results.insert(results.end(), failed_.begin(), failed_.end());
        failed_.clear();
        inner_->poll(results, wait);
    }

    ReadCounters counters() const noexcept override { return inner_->counters(); }

   private:
    std::unique_ptr<Reader> inner_;
    std::vector<FileRecord> files_;
    std::uint64_t nth_;
    std::uint64_t submitted_ = 0;
    std::vector<ReadResult> failed_;
};

}  // namespace shardwise::test
