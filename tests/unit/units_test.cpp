#include "util/units.hpp"

#include <gmock/gmock.h>

#include "support/error_of.hpp"
#include "util/checked.hpp"

namespace shardwise::test {
namespace {

TEST(Units, SizesOfEveryUnitAreRead) {
    struct Case {
        char const* text;
        std::uint64_t bytes;
    };
    for (auto const& test_case : std::initializer_list<Case>{
             {"0", 0},
             {"4096", 4096},
             {"7B", 7},
             {"64KiB", 65536},
             {"64 kib", 65536},
             {"64k", 64000},
             {"2MB", 2000000},
             {"1.5GiB", 1610612736},
             {"1tb", 1000000000000},
             {"1Ti", 1099511627776},
             {"7PiB", 7881299347898368},
             {"1e3", 1000},
         }) {
        EXPECT_EQ(parse_size(test_case.text), test_case.bytes) << test_case.text;
    }
}

TEST(Units, WhatIsNoSizeIsAUsageErrorThatQuotesIt) {
    for (std::string const text : {"", " ", "x", "-1", "12q", "12kk", "1.5.5G", "1,5GiB", "64iB", "5BB", "5 G B", " 5",
                                   "nan", "inf", "0x10", "9223372036854775808", "8EiB", "9000PiB", "1e400"}) {
        EXPECT_THAT(error_of([&] { parse_size(text); }), IsError(Errc::usage, "'" + text + "'")) << text;
    }
}

TEST(Units, BytesKeepThreeDigitsAndABinaryUnit) {
    EXPECT_EQ(format_bytes(0), "0 B");
    EXPECT_EQ(format_bytes(1023), "1023 B");
    EXPECT_EQ(format_bytes(1024), "1.00 KiB");
    EXPECT_EQ(format_bytes(1536), "1.50 KiB");
    EXPECT_EQ(format_bytes(77 << 20), "77.0 MiB");
    EXPECT_EQ(format_bytes(1000ULL << 30), "1000 GiB");
    EXPECT_EQ(format_bytes(~0ULL), "16384 PiB");
}

TEST(Units, SecondsAreReadableAtAnyScale) {
    EXPECT_EQ(format_seconds(0), "0 us");
    EXPECT_EQ(format_seconds(0.00042), "420 us");
    EXPECT_EQ(format_seconds(0.0123), "12.3 ms");
    EXPECT_EQ(format_seconds(1.0), "1 s");
    EXPECT_EQ(format_seconds(75.2), "75.2 s");
    // No exponents, neither where rounding carries into a fourth digit nor for long jobs.
    EXPECT_EQ(format_seconds(0.99951), "1000 ms");
    EXPECT_EQ(format_seconds(999.7), "1000 s");
    EXPECT_EQ(format_seconds(5432.1), "5432 s");
}

TEST(Units, RatesAreDecimalAndNoTimeIsNoRate) {
    EXPECT_EQ(format_rate(1ULL << 30, 2), "0.54 GB/s");
    EXPECT_EQ(format_rate(5, 0), "-");
}

TEST(Checked, OverflowIsNothing) {
    constexpr std::uint64_t kMost = ~0ULL;
    EXPECT_EQ(checked_mul(1ULL << 32, 1ULL << 31), 1ULL << 63);
    EXPECT_EQ(checked_mul(1ULL << 32, 1ULL << 32), std::nullopt);
    EXPECT_EQ(checked_mul(kMost, 0), 0U);
    EXPECT_EQ(checked_add(kMost, 0), kMost);
    EXPECT_EQ(checked_add(kMost, 1), std::nullopt);
}

TEST(Checked, DivisionsAndAlignmentsAtTheirEdges) {
    EXPECT_EQ(ceil_div(0, 3), 0);
    EXPECT_EQ(ceil_div(3, 3), 1);
    EXPECT_EQ(ceil_div(4, 3), 2);
    EXPECT_EQ(ceil_div(~0ULL, 2ULL), 1ULL << 63) << "a sum before the division would wrap";
    EXPECT_EQ(align_down(4095, 4096), 0U);
    EXPECT_EQ(align_up(4096, 4096), 4096U);
    EXPECT_EQ(align_up(4097, 4096), 8192U);
}

}  // namespace
}  // namespace shardwise::test
