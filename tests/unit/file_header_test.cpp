#include "catalog/file_header.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "support/error_of.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

using namespace std::string_literals;

constexpr char const* kTwoTensors =
    R"({"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},)"
    R"("norm \u00fc":{"dtype":"F32","shape":[],"data_offsets":[12,16]}})";

TEST(FileHeader, SaysWhereEveryTensorsBytesLie) {
    ScratchFolder const folder;
    auto const path = folder.write("m.safetensors", safetensors_bytes(kTwoTensors, 16));
    auto const header = read_file_header(path);
    auto const data_begin = 8 + std::string(kTwoTensors).size();
    EXPECT_EQ(header.file, (FileRecord{path, data_begin + 16, data_begin}));
    ASSERT_EQ(header.tensors.size(), 2U);
    EXPECT_EQ(header.tensors[1], (TensorRecord{"norm \xC3\xBC", DType::f32, {}, 0, data_begin + 12, 4}));
}

TEST(FileHeader, ComesBackFromItsBinaryForm) {
    FileHeader header{{"/some/m.safetensors", 1ULL << 50, 12345, {{"format", "pt"}, {"", "a\nb"}}}, {}};
    header.tensors = {{"a", DType::f4, {2, 0}, 0, 12345, 0},
                      {"", DType::u64, {}, 0, 12345, 8},
                      {"b\0c"s, DType::i8, {1, 2, 3, 4, 5, 6, 7, 8}, 0, 7, 40320}};
    EXPECT_EQ(decode_file_header(encode(header)), header);
    EXPECT_EQ(decode_file_header(encode(FileHeader{})), FileHeader{});
}

TEST(FileHeader, ABinaryFormCutAnywhereIsAPeerError) {
    FileHeader const header{{"f", 100, 20, {{"format", "pt"}}}, {{"w", DType::u8, {80}, 0, 20, 80}}};
    auto const bytes = encode(header);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        EXPECT_THAT(error_of([&] { decode_file_header(std::span(bytes).first(size)); }),
                    IsError(Errc::peer, "ends early"))
            << size;
    }
}

TEST(FileHeader, OtherFormatsAreRefusedByTheirMagicWhateverTheFileIsCalled) {
    ScratchFolder const folder;
    struct Case {
        std::string content;
        char const* format;
    };
    for (auto const& [content, format] : std::initializer_list<Case>{
             {"GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"s, "is a GGUF file"},
             {"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0"s, "is a HDF5 file"},
             {"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0"s, "is a PyTorch zip file"},
             {"\x80\x02}q\0(X\6\0\0\0weight"s, "is a Python pickle"},
             {"\x93NUMPY\1\0v\0{'descr'"s, "is a NumPy file"},
             {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4976698672\n",
              "is a Git LFS pointer, not the data"},
         }) {
        auto const path = folder.write("model.safetensors", content);
        EXPECT_THAT(error_of([&] { read_file_header(path); }), IsError(Errc::input, path + " " + format));
    }
}

TEST(FileHeader, AHeaderLengthThatHappensToBeginLikeAnotherFormatIsNoMistake) {
    ScratchFolder const folder;
    auto json = one_tensor_file("w", 3).substr(8, std::string::npos);
    json.resize(json.size() - 3);
    json.resize(0x180, ' ');  // length field begins with the byte of a pickle
    EXPECT_EQ(read_file_header(folder.write("m.safetensors", safetensors_bytes(json, 3))).tensors.size(), 1U);
}

TEST(FileHeader, ErrorsBeginWithThePath) {
    ScratchFolder const folder;
    auto const whole = one_tensor_file("w", 100);
    auto const header_end = whole.size() - 100;
    for (auto const size :
         {std::size_t{0}, std::size_t{5}, std::size_t{8}, header_end - 1, header_end, whole.size() - 1}) {
        auto const path = folder.write("cut.safetensors", whole.substr(0, size));
        EXPECT_THAT(error_of([&] { read_file_header(path); }), IsError(Errc::input, path + ": ")) << size;
    }
    auto const longer = folder.write("longer.safetensors", whole + "x");
    EXPECT_THAT(error_of([&] { read_file_header(longer); }), IsError(Errc::input, longer + ": tensors end at byte"));
}

TEST(FileHeader, WhatIsNoFileIsAnError) {
    ScratchFolder const folder;
    EXPECT_THAT(error_of([&] { read_file_header(folder / "none"); }), IsError(Errc::io, folder / "none"));
    EXPECT_THAT(error_of([&] { read_file_header(folder.path()); }), IsError(Errc::input, "is not a regular file"));
    auto const pipe = folder / "model.safetensors";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    EXPECT_THAT(error_of([&] { read_file_header(pipe); }), IsError(Errc::input, "is not a regular file"));
}

}  // namespace
}  // namespace shardwise::test
