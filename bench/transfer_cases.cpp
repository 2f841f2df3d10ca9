#include <filesystem>
#include <fstream>
#include <memory>

#include <fmt/format.h>
#include <unistd.h>

#include <shardwise/error.hpp>

#include "desk.hpp"
#include "io/reader.hpp"
#include "io/uploading_reader.hpp"
#include "kernel_cases.hpp"

namespace shardwise::bench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kRequest = 4ULL << 20U;

/// A file in memory that goes away with the last copy of this.
std::shared_ptr<std::string const> write_file(Bytes const& content) {
    auto const path = (fs::path("/dev/shm") / fmt::format("kernel_speed.{}", ::getpid())).string();
    std::shared_ptr<std::string const> const file(new std::string(path), [](std::string const* name) {
        std::error_code ignored;
        fs::remove(*name, ignored);
        delete name;
    });
    std::ofstream stream(path, std::ios::binary);
    stream.write(reinterpret_cast<char const*>(content.data()), static_cast<std::streamsize>(content.size()));
    if (!stream.flush()) { throw Error(Errc::io, fmt::format("write {} B to {}", content.size(), path)); }
    return file;
}

/// Reads all @p bytes of the only file into @p target, many requests at a time.
void read_all(Reader& reader, std::uint64_t bytes, Memory const& target) {
    std::vector<ReadResult> done;
    for (std::uint64_t at = 0; done.size() < bytes / kRequest;) {
        while (at < bytes && reader.has_room()) {
            reader.submit({at, {0, at, kRequest}, target.bytes().subspan(at, kRequest)});
            at += kRequest;
        }
        reader.start();
        reader.poll(done, Wait::briefly);
    }
    for (auto const& read : done) {
        if (read.error) { throw *read.error; }
    }
}

}  // namespace

KernelCase copy_case(Accelerator& accelerator, Stream& stream, std::uint64_t bytes, CopyFrom from) {
    Desk const desk{accelerator, stream, bytes};
    auto const content = any_bytes(bytes);
    auto source = from == CopyFrom::device ? desk.upload(content) : accelerator.allocate_pinned(bytes);
    if (from == CopyFrom::pinned) { std::memcpy(source.bytes().data(), content.data(), bytes); }
    auto const target = accelerator.allocate(bytes);
    bool const is_inside = from == CopyFrom::device;
    KernelCase result{is_inside ? "copy inside the GPU" : "copy from pinned memory", is_inside ? 2 * bytes : bytes};
    result.run = [&stream, source, target] { stream.copy(source.bytes(), target.bytes().data()); };
    result.is_right = [desk, target, content] { return desk.download(target.bytes()) == content; };
    result.results = {target};
    return result;
}

KernelCase pipeline_case(Accelerator& accelerator, Stream& stream, std::uint64_t bytes) {
    Desk const desk{accelerator, stream, bytes};
    auto const content = any_bytes(bytes);
    auto const file = write_file(content);
    auto const files = std::make_shared<std::vector<FileRecord> const>(1, FileRecord{*file, bytes, 0});
    std::shared_ptr<Reader> const reader =
        make_uploading_reader(make_pread_reader(*files, {false}, 8), accelerator, {16, kRequest + kSlotAlignment});
    auto const target = accelerator.allocate(bytes);
    KernelCase result{"file in memory through pinned buffers", bytes};
    result.run = [file, files, reader, target, bytes] { read_all(*reader, bytes, target); };
    result.is_right = [desk, target, content] { return desk.download(target.bytes()) == content; };
    result.results = {target};
    return result;
}

}  // namespace shardwise::bench
