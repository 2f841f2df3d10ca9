#include "util/digest.hpp"

#include <string>

#include <gmock/gmock.h>

namespace shardwise::test {
namespace {

std::string digest_of(std::string_view bytes) {
    Digest digest;
    digest.add(std::as_bytes(std::span(bytes)));
    return digest.hex();
}

// The values are those of `xxh128sum` and of Python's xxhash.xxh3_128_hexdigest.
TEST(Digest, IsXxh3OfTheBytesInCanonicalOrder) {
    std::string long_input;
    for (int i = 0; i < 1280; ++i) { long_input += static_cast<char>(i); }
    EXPECT_EQ(digest_of(""), "99aa06d3014798d86001c324468d497f");
    EXPECT_EQ(digest_of("a"), "a96faf705af16834e6c632b61e964e1f");
    EXPECT_EQ(digest_of("shardwise"), "24cab17fc6343cc6598d69586ddf8263");
    EXPECT_EQ(digest_of(long_input), "d92ab3a1cb0542a74844b009e164352e");
}

TEST(Digest, NumbersAreEightBytesLittleEndianWithTheirSign) {
    Digest seven;
    seven.add(std::uint8_t{7});
    EXPECT_EQ(seven.hex(), "deb6d224c549cbd3e8c0d782b2f61276");
    Digest minus_one;
    minus_one.add(std::int32_t{-1});
    EXPECT_EQ(minus_one.hex(), "dc6b20d207425aa58b3249d34c2ef0b0");
}

TEST(Digest, TextsCarryTheirLength) {
    Digest split_late;
    split_late.add("ab");
    split_late.add("c");
    Digest split_early;
    split_early.add("a");
    split_early.add("bc");
    EXPECT_EQ(split_late.hex(), "f2eda2708bcfd51cc05c0ee4c9f60440");
    EXPECT_NE(split_late.hex(), split_early.hex());
}

}  // namespace
}  // namespace shardwise::test
