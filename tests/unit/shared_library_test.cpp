#include "util/shared_library.hpp"

#include <cmath>
#include <utility>

#include <gmock/gmock.h>

#include <shardwise/error.hpp>

#include "support/error_of.hpp"

namespace shardwise::test {
namespace {

using Cosine = double (*)(double);

TEST(SharedLibrary, GivesFunctionsWithTheirTypes) {
    SharedLibrary const library("libm.so.6");
    EXPECT_DOUBLE_EQ(library.get<Cosine>("cos")(0.5), std::cos(0.5));
    EXPECT_DOUBLE_EQ(library.find<Cosine>("cos")(0.5), std::cos(0.5));
}

TEST(SharedLibrary, OneThatIsMissingIsNamedWithTheLoadersWords) {
    EXPECT_THAT(error_of([] { SharedLibrary const library("libshardwise-absent.so.0"); }),
                IsError(Errc::unavailable, "load libshardwise-absent.so.0: libshardwise-absent.so.0: cannot open"));
    EXPECT_THAT(error_of([] { SharedLibrary const library("/dev/null"); }),
                IsError(Errc::unavailable, "load /dev/null: /dev/null: file too short"));
}

TEST(SharedLibrary, ASymbolThatIsMissingIsNamedWithTheLibraryOrIsNull) {
    SharedLibrary const library("libm.so.6");
    EXPECT_THAT(error_of([&] { static_cast<void>(library.get<Cosine>("cosine_of_the_sun")); }),
                IsError(Errc::unavailable, "find cosine_of_the_sun in libm.so.6: "));
    EXPECT_EQ(library.find<Cosine>("cosine_of_the_sun"), nullptr);
}

TEST(SharedLibrary, StaysLoadedWhereItIsMovedTo) {
    SharedLibrary library("libm.so.6");
    auto const moved = std::move(library);
    EXPECT_EQ(moved.name(), "libm.so.6");
    EXPECT_DOUBLE_EQ(moved.get<Cosine>("cos")(0), 1);
}

}  // namespace
}  // namespace shardwise::test
