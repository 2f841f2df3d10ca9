/// @file
/// Tests that run on an emulated accelerator and, where there is one, on a GPU.
#pragma once

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "device/accelerator.hpp"
#include "support/emulated_accelerator.hpp"

namespace shardwise::test {

inline std::unique_ptr<Accelerator> emulated() {
    return make_emulated_accelerator({.memory_bytes = 2ULL << 30U});
}
inline std::unique_ptr<Accelerator> first_gpu() {
    return open_gpu(0);
}

/// Skips, with the reason, what there is no GPU for. Instantiate with accelerators() and accelerator_name.
class OnAccelerator : public ::testing::TestWithParam<std::unique_ptr<Accelerator> (*)()> {
   protected:
    void SetUp() override {
        auto const gpus = visible_gpus();
        if (GetParam() == &first_gpu && gpus.count == 0) { GTEST_SKIP() << gpus.obstacle; }
        accelerator_ = GetParam()();
        stream_ = accelerator_->make_stream();
    }

    /// A copy in the accelerator's memory that begins @p shift bytes past a multiple of kDevicePage. It stays until the
    /// end of the test, or forget().
    std::span<std::byte> upload(std::span<std::byte const> bytes, std::size_t shift = 0) {
        auto const pinned = accelerator_->allocate_pinned(bytes.size() + 1);
        auto const memory = accelerator_->allocate(bytes.size() + shift + 1);
        if (!bytes.empty()) { std::memcpy(pinned.bytes().data(), bytes.data(), bytes.size()); }
        auto const copy = memory.bytes().subspan(shift, bytes.size());
        stream_->copy(pinned.bytes().first(bytes.size()), copy.data());
        held_.push_back(pinned);
        held_.push_back(memory);
        return copy;
    }

    template <class Value>
    Value* upload_values(std::span<Value const> values) {
        return reinterpret_cast<Value*>(upload(std::as_bytes(values)).data());
    }

    /// What is there once everything given to the stream has ended.
    std::vector<std::byte> download(std::span<std::byte const> bytes) {
        auto const pinned = accelerator_->allocate_pinned(bytes.size() + 1);
        stream_->copy(bytes, pinned.bytes().data());
        finish(*stream_);
        auto const copied = pinned.bytes().first(bytes.size());
        return {copied.begin(), copied.end()};
    }

    void forget() {
        finish(*stream_);
        held_.clear();
    }

    Accelerator& accelerator() { return *accelerator_; }
    Stream& stream() { return *stream_; }

   private:
    std::unique_ptr<Accelerator> accelerator_;
    std::vector<Memory> held_;
    std::unique_ptr<Stream> stream_;
};

inline auto accelerators() {
    return ::testing::Values(&emulated, &first_gpu);
}
inline std::string accelerator_name(::testing::TestParamInfo<std::unique_ptr<Accelerator> (*)()> const& info) {
    return info.param == &first_gpu ? "Cuda" : "Emulated";
}

}  // namespace shardwise::test
