// Catalogs of whole checkpoints: which file owns a tensor, and what does not fit together.
#include <shardwise/catalog.hpp>

#include <gmock/gmock.h>

#include "support/error_of.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char const* kIndex = "model.safetensors.index.json";

std::string two_tensor_file(std::string const& first, std::string const& second) {
    return safetensors_bytes(R"({")" + first + R"(":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},")" + second +
                                 R"(":{"dtype":"U8","shape":[3],"data_offsets":[2,5]}})", 5);
}

TEST(Catalog, TensorsOfAllFilesComeInNaturalOrderOfNames) {
    ScratchFolder const folder;
    folder.write("m-1.safetensors", two_tensor_file("l.10.w", "l.9.w"));
    folder.write("m-2.safetensors", two_tensor_file("l.2.w", "a"));
    auto const catalog = Catalog::open(folder.path());
    std::vector<std::string> names;
    for (auto const& tensor : catalog.tensors()) { names.push_back(tensor.name); }
    EXPECT_THAT(names, ElementsAre("a", "l.2.w", "l.9.w", "l.10.w"));
    EXPECT_EQ(catalog.tensor_bytes(), 10U);
    for (std::uint32_t i = 0; i < names.size(); ++i) { EXPECT_EQ(catalog.find(names[i]), i); }
    EXPECT_EQ(catalog.find("l.3.w"), std::nullopt);
    EXPECT_EQ(catalog.find("z"), std::nullopt);

    auto const& last = catalog.tensors()[3];
    auto const& file = catalog.files()[last.file];
    EXPECT_THAT(file.path, HasSubstr("m-1.safetensors"));
    EXPECT_EQ(last.begin, file.data_begin);
}

TEST(Catalog, ATensorInTwoFilesWithoutAnIndexIsAnErrorThatNamesBoth) {
    ScratchFolder const folder;
    folder.write("a.safetensors", one_tensor_file("w", 4));
    folder.write("b.safetensors", one_tensor_file("w", 4));
    EXPECT_THAT(
        error_of([&] { Catalog::open(folder.path()); }),
        IsError(Errc::input, "w stands in both " + (folder / "a.safetensors") + " and " + (folder / "b.safetensors")));
}

TEST(Catalog, TheIndexSaysWhichOfTwoFilesOwnsATensor) {
    ScratchFolder const folder;
    folder.write("a.safetensors", two_tensor_file("w", "x"));
    folder.write("b.safetensors", one_tensor_file("w", 7));
    folder.write(kIndex, R"({"weight_map":{"w":"b.safetensors","x":"a.safetensors"}})");
    auto const catalog = Catalog::open(folder.path());
    ASSERT_EQ(catalog.tensors().size(), 2U);
    auto const& w = catalog.tensors()[*catalog.find("w")];
    EXPECT_EQ(w.size_bytes, 7U);
    EXPECT_THAT(catalog.files()[w.file].path, HasSubstr("b.safetensors"));
    EXPECT_TRUE(catalog.warnings().empty()) << "the copy is accounted for";
}

TEST(Catalog, TensorsThatTheIndexDoesNotListAreLeftOutWithAWarning) {
    ScratchFolder const folder;
    folder.write("a.safetensors", two_tensor_file("w", "extra"));
    folder.write(kIndex, R"({"weight_map":{"w":"a.safetensors"}})");
    auto const catalog = Catalog::open(folder.path());
    EXPECT_EQ(catalog.find("extra"), std::nullopt);
    EXPECT_THAT(catalog.warnings(), ElementsAre(HasSubstr("1 tensor(s)")));
    EXPECT_THAT(catalog.warnings()[0], HasSubstr("extra in " + (folder / "a.safetensors")));
}

TEST(Catalog, AnIndexThatNamesATensorWhichItsFileLacksIsAnError) {
    ScratchFolder const folder;
    folder.write("a.safetensors", one_tensor_file("w", 4));
    folder.write("b.safetensors", one_tensor_file("x", 4));
    // As many tensors as entries: counting alone would not notice.
    auto const index = folder.write(kIndex, R"({"weight_map":{"w":"a.safetensors","y":"b.safetensors"}})");
    EXPECT_THAT(error_of([&] { Catalog::open(folder.path()); }),
                IsError(Errc::input, index + " gives y to " + (folder / "b.safetensors") + ", which does not hold it"));
    folder.write(kIndex, R"({"weight_map":{"w":"b.safetensors"}})");
    EXPECT_THAT(error_of([&] { Catalog::open(folder.path()); }), IsError(Errc::input, "gives w to"));
}

TEST(Catalog, AnIndexThatNamesATensorTwiceIsAnError) {
    ScratchFolder const folder;
    folder.write("a.safetensors", two_tensor_file("w", "x"));
    folder.write("b.safetensors", one_tensor_file("w", 4));
    auto const told = [&](std::string const& weight_map) {
        folder.write(kIndex, R"({"weight_map":{)" + weight_map + "}}");
        return error_of([&] { Catalog::open(folder.path()); });
    };
    auto const a = folder / "a.safetensors";
    auto const b = folder / "b.safetensors";
    auto const index = folder / kIndex;
    EXPECT_THAT(told(R"("w":"a.safetensors","x":"a.safetensors","w":"b.safetensors")"),
                IsError(Errc::input, index + " gives w to both " + a + " and " + b));
    EXPECT_THAT(told(R"("x":"a.safetensors","w":"a.safetensors","\u0077":"a.safetensors")"),
                IsError(Errc::input, index + " gives w to " + a + " twice"));
    EXPECT_THAT(told(R"("x":"a.safetensors","x":"b.safetensors","w":"b.safetensors")"),
                IsError(Errc::input, index + " gives x to " + b + ", which does not hold it"));
}

TEST(Catalog, ACheckpointWithoutTensorsIsAnError) {
    ScratchFolder const folder;
    folder.write("model.safetensors", safetensors_bytes("{}", 0));
    EXPECT_THAT(error_of([&] { Catalog::open(folder.path()); }), IsError(Errc::input, "holds no tensor"));
}

TEST(Catalog, ABrokenShardIsNamed) {
    ScratchFolder const folder;
    folder.write("m-1.safetensors", one_tensor_file("w", 4));
    auto const broken = folder.write("m-2.safetensors", one_tensor_file("x", 4).substr(0, 60));
    EXPECT_THAT(error_of([&] { Catalog::open(folder.path()); }), IsError(Errc::input, broken + ": "));
}

}  // namespace
}  // namespace shardwise::test
