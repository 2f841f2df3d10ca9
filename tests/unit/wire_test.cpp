#include "util/wire.hpp"

#include <gmock/gmock.h>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

std::vector<std::byte> message() {
    WireWriter out;
    out.put<std::uint32_t>(7);
    out.put(std::string("n\0me", 4));
    out.put(std::string_view());
    out.put(-2.5);
    return out.take();
}

void read_all(WireReader& in) {
    in.get<std::uint32_t>();
    in.get_text();
    in.get_text();
    in.get<double>();
}

TEST(Wire, ValuesComeBackInOrder) {
    auto const bytes = message();
    WireReader in(bytes);
    EXPECT_EQ(in.get<std::uint32_t>(), 7U);
    EXPECT_EQ(in.get_text(), std::string("n\0me", 4));
    EXPECT_EQ(in.get_text(), "");
    EXPECT_FALSE(in.is_empty());
    EXPECT_EQ(in.get<double>(), -2.5);
    EXPECT_TRUE(in.is_empty());
}

TEST(Wire, AMessageCutAnywhereIsAPeerError) {
    auto const bytes = message();
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        auto const head = std::span(bytes).first(size);
        WireReader in(head);
        EXPECT_THAT(error_of([&] { read_all(in); }), IsError(Errc::peer, "ends early")) << size;
    }
}

TEST(Wire, ATextLongerThanTheAddressSpaceIsAPeerError) {
    WireWriter out;
    out.put(~std::uint64_t{0});
    auto const bytes = out.take();
    WireReader in(bytes);
    EXPECT_THAT(error_of([&] { in.get_text(); }), IsError(Errc::peer, "ends early"));
}

// A container would be made that large first.
TEST(Wire, MoreItemsThanBytesFollowIsAPeerError) {
    WireWriter out;
    out.put(std::uint64_t{3});
    out.put(std::uint16_t{0});
    auto const bytes = out.take();
    WireReader in(bytes);
    EXPECT_THAT(error_of([&] { in.get_count(); }), IsError(Errc::peer, "ends early"));
}

}  // namespace
}  // namespace shardwise::test
