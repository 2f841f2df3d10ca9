#include "sink/handoff_file.hpp"

#include <gmock/gmock.h>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

TEST(HandoffFile, ADamagedFileIsRefused) {
    MemoryHandle handle = {};
    handle.front() = std::byte{0xab};
    HandoffFile handoff = {3, "GPU-1", handle, 1024, {}};
    PlannedTensor tensor;
    tensor.name = "a";
    tensor.dtype = DType::f32;
    tensor.local_shape = Shape({4, 8});
    tensor.store_offset = 1024 - 128;
    handoff.tensors = {tensor};
    auto const text = to_json(handoff);
    auto const read = parse_handoff(text, "file");
    EXPECT_EQ(read.rank, 3);
    EXPECT_EQ(read.handle, handle);
    ASSERT_EQ(read.tensors.size(), 1U);
    EXPECT_EQ(read.tensors[0].size_bytes, 128U);
    auto const with = [&](std::string const& from, std::string const& to) {
        auto changed = text;
        changed.replace(changed.find(from), from.size(), to);
        return error_of([&] { parse_handoff(changed, "file"); });
    };
    EXPECT_THAT(with("\"bytes\": 1024", "\"bytes\": 1023"), IsError(Errc::input, "128 B at 896 do not lie in 1023 B"));
    EXPECT_THAT(with("ab00", "xb00"), IsError(Errc::input, "expected 128 hexadecimal digits"));
    EXPECT_THAT(with("F32", "F31"), IsError(Errc::input, "unknown dtype"));
    EXPECT_THAT(with("896", "-1"), IsError(Errc::input, "from 0 up"));
    EXPECT_THAT(with("handoff/1", "handoff/2"), IsError(Errc::input, "expected shardwise.handoff/1"));
    EXPECT_THAT(with("\"offset\"", "\"ofset\""), IsError(Errc::input, "ofset"));
}

}  // namespace
}  // namespace shardwise::test
