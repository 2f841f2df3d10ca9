// The seam of accelerators, over an emulated one and over a real one where there is one.
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "support/emulated_accelerator.hpp"
#include "support/error_of.hpp"
#include "support/on_accelerator.hpp"

namespace shardwise::test {
namespace {

class AcceleratorSeam : public OnAccelerator {};

TEST_P(AcceleratorSeam, CopiesThereAndBackInOrder) {
    auto const in = accelerator().allocate_pinned(3 * kDevicePage);
    auto const out = accelerator().allocate_pinned(3 * kDevicePage);
    auto const device = accelerator().allocate(3 * kDevicePage);
    auto const other = accelerator().allocate(3 * kDevicePage);
    for (std::size_t i = 0; i < in.bytes().size(); ++i) { in.bytes()[i] = static_cast<std::byte>(i * 7); }
    auto const stream = accelerator().make_stream();
    stream->copy(in.bytes(), device.bytes().data());
    stream->copy(device.bytes(), other.bytes().data());
    stream->copy(other.bytes(), out.bytes().data());
    finish(*stream);
    EXPECT_TRUE(std::ranges::equal(in.bytes(), out.bytes()));
}

TEST_P(AcceleratorSeam, MarksPassInOrder) {
    auto const host = accelerator().allocate_pinned(1U << 20U);
    auto const device = accelerator().allocate(1U << 20U);
    auto const stream = accelerator().make_stream();
    std::vector<std::uint64_t> marks = {stream->mark()};
    for (int i = 0; i < 50; ++i) {
        stream->copy(host.bytes(), device.bytes().data());
        marks.push_back(stream->mark());
        EXPECT_GE(marks.back(), marks[marks.size() - 2]);
    }
    finish(*stream);
    for (auto const mark : marks) { EXPECT_TRUE(stream->has_passed(mark)); }
}

TEST_P(AcceleratorSeam, MemoryBeginsOnADevicePageAndIsCounted) {
    auto const before = accelerator().peak_bytes();
    {
        auto const odd = accelerator().allocate(1);
        auto const next = accelerator().allocate(kDevicePage + 1);
        for (auto const& memory : {odd, next}) {
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.bytes().data()) % kDevicePage, 0U);
        }
    }
    EXPECT_GE(accelerator().peak_bytes(), before + kDevicePage + 2);
    auto const peak = accelerator().peak_bytes();
    auto const again = accelerator().allocate(1);
    EXPECT_EQ(accelerator().peak_bytes(), peak) << "what was freed still counts";
    EXPECT_TRUE(accelerator().allocate(0).bytes().empty());
}

TEST_P(AcceleratorSeam, MoreThanThereIsIsRefusedWithTheSize) {
    EXPECT_THAT(error_of([&] { static_cast<void>(accelerator().allocate(1ULL << 50U)); }),
                IsError(Errc::memory, "1.00 PiB"));
    EXPECT_FALSE(accelerator().allocate(kDevicePage).bytes().empty()) << "and nothing is broken after it";
}

INSTANTIATE_TEST_SUITE_P(Any, AcceleratorSeam, accelerators(), accelerator_name);

TEST(VisibleGpus, SayWhyThereAreNone) {
    auto const gpus = visible_gpus();
    EXPECT_EQ(gpus.count == 0, !gpus.obstacle.empty());
    if (gpus.count > 0) { GTEST_SKIP() << gpus.count << " GPU(s)"; }
    std::printf("no GPU: %s\n", gpus.obstacle.c_str());
    EXPECT_THAT(error_of([] { static_cast<void>(open_gpu(0)); }), IsError(Errc::unavailable, ""));
}

TEST(EmulatedAccelerator, FailsWhenItIsToldTo) {
    auto const left = std::make_shared<std::atomic<std::int64_t>>(2);
    auto const gpu = make_emulated_accelerator({.work_left = left});
    auto const host = gpu->allocate_pinned(16);
    auto const device = gpu->allocate(16);
    auto const stream = gpu->make_stream();
    stream->copy(host.bytes(), device.bytes().data());
    stream->copy(host.bytes(), device.bytes().data());
    finish(*stream);
    stream->copy(host.bytes(), device.bytes().data());
    EXPECT_THAT(error_of([&] { finish(*stream); }), IsError(Errc::io, "launch failure"));
}

}  // namespace
}  // namespace shardwise::test
