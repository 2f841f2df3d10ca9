// How fast kernels move bytes inside a GPU, beside a copy of the same GPU, and how fast files reach it, beside copies
// from pinned memory. Each case is checked against the host before it is timed. Minima and medians of several rounds,
// the copy's taken anew beside each case.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>

#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <fnmatch.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <shardwise/error.hpp>

#include "io/reader.hpp"
#include "io/uploading_reader.hpp"
#include "kernel_cases.hpp"

namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;
using namespace shardwise;
using namespace shardwise::bench;

constexpr int kRepeats = 10;  ///< of a kernel in one measurement: launches and waits count for less
constexpr char const* kDeviceCopy = "copy inside the GPU";
constexpr char const* kPinnedCopy = "copy from pinned memory";
constexpr char const* kPipeline = "file in memory through pinned buffers";

double seconds_of(std::function<void()> const& work) {
    auto const begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

KernelCase copy_case(Accelerator& accelerator, Stream& stream, std::string name, std::uint64_t bytes, bool is_pinned) {
    auto const from = is_pinned ? accelerator.allocate_pinned(bytes) : accelerator.allocate(bytes);
    auto const to = accelerator.allocate(bytes);
    KernelCase result{std::move(name), is_pinned ? bytes : 2 * bytes, {}, [] { return true; }, {from, to}};
    result.run = [&stream, from, to] { stream.copy(from.bytes(), to.bytes().data()); };
    return result;
}

/// A file on tmpfs read into the GPU by the pread pool and the ring of pinned buffers, as loads do it.
KernelCase pipeline_case(Accelerator& accelerator, Stream& stream, std::uint64_t bytes) {
    auto const path = (fs::path("/dev/shm") / fmt::format("kernel_speed.{}", ::getpid())).string();
    {
        std::ofstream file(path, std::ios::binary);
        std::vector<char> const piece(1U << 20U, 'x');
        for (std::uint64_t at = 0; at < bytes; at += piece.size()) {
            file.write(piece.data(), static_cast<std::streamsize>(std::min<std::uint64_t>(piece.size(), bytes - at)));
        }
    }
    std::shared_ptr<void> const remover(nullptr, [path](void*) { fs::remove(path); });
    constexpr std::uint64_t kRequest = 4ULL << 20U;
    auto const files = std::make_shared<std::vector<FileRecord> const>(1, FileRecord{path, bytes, 0});
    std::shared_ptr<Reader> const reader =
        make_uploading_reader(make_pread_reader(*files, {false}, 8), accelerator, {16, kRequest + kSlotAlignment});
    auto const target = accelerator.allocate(bytes + kRequest);
    KernelCase result{kPipeline, bytes, {}, {}, {target}};
    result.is_right = [&accelerator, &stream, target, bytes] {
        auto const pinned = accelerator.allocate_pinned(bytes);
        stream.copy(target.bytes().first(bytes), pinned.bytes().data());
        finish(stream);
        return std::ranges::all_of(pinned.bytes(), [](std::byte byte) { return byte == std::byte{'x'}; });
    };
    result.run = [files, reader, target, bytes, remover] {
        std::vector<ReadResult> done;
        for (std::uint64_t at = 0; at < bytes || done.size() < bytes / kRequest;) {
            while (at < bytes && reader->has_room()) {
                reader->submit({at, {0, at, kRequest}, target.bytes().subspan(at, kRequest)});
                at += kRequest;
            }
            reader->start();
            reader->poll(done, Wait::briefly);
        }
        for (auto const& read : done) {
            if (read.error) { throw *read.error; }
        }
    };
    return result;
}

/// Seconds of one run of each case, round after round.
using Seconds = std::map<std::string, std::vector<double>>;

void measure(Stream& stream, KernelCase const& one, int rounds, Seconds& seconds) {
    one.run();
    finish(stream);
    for (int round = 0; round < rounds; ++round) {
        seconds[one.name].push_back(seconds_of([&] {
                                        for (int i = 0; i < kRepeats; ++i) { one.run(); }
                                        finish(stream);
                                    }) /
                                    kRepeats);
    }
}

struct Row {
    std::string name;
    double bytes_per_second = 0;
    double median_bytes_per_second = 0;
    double of_floor = 0;
};

Row row_of(KernelCase const& one, Seconds& seconds, KernelCase const& floor) {
    auto& own = seconds[one.name];
    auto& base = seconds[floor.name];
    std::ranges::sort(own);
    std::ranges::sort(base);
    auto const rate = [](KernelCase const& c, double s) { return static_cast<double>(c.moved_bytes) / s; };
    return {one.name, rate(one, own.front()), rate(one, own[own.size() / 2]),
            rate(one, own.front()) / rate(floor, base.front())};
}

int run(po::variables_map const& values) {
    bool const verifies_only = values["verify-only"].as<bool>();
    auto const visible = visible_gpus();
    auto accelerator = visible.count > 0 ? open_gpu(0) : verifies_only ? emulated_gpu() : nullptr;
    if (!accelerator) { throw Error(Errc::unavailable, visible.obstacle); }
    auto const stream = accelerator->make_stream();
    auto const megabytes = verifies_only ? 32U : 256U;
    auto const pattern = values["case"].as<std::string>();
    auto const rounds = values["rounds"].as<int>();
    fmt::print("{}\n", accelerator->describe());

    Seconds seconds;
    std::vector<Row> rows;
    auto const pinned = copy_case(*accelerator, *stream, kPinnedCopy, megabytes * 1ULL << 20U, true);
    auto const device = copy_case(*accelerator, *stream, kDeviceCopy, megabytes * 1ULL << 20U, false);
    auto const look_at = [&](KernelCase const& one, KernelCase const& floor) {
        one.run();
        if (!one.is_right()) { throw std::runtime_error(fmt::format("{}: the result is wrong", one.name)); }
        if (verifies_only) { return fmt::print("{}: right\n", one.name); }
        // The floor once more beside each case: clocks of a GPU move.
        measure(*stream, floor, rounds, seconds);
        if (one.name != floor.name) { measure(*stream, one, rounds, seconds); }
        rows.push_back(row_of(one, seconds, floor));
        fmt::print("{:<40}{:>9.1f} GB/s, median {:>9.1f}, {:>4.0f} % of {}\n", one.name,
                   rows.back().bytes_per_second / 1e9, rows.back().median_bytes_per_second / 1e9,
                   100 * rows.back().of_floor, floor.name);
    };
    look_at(device, device);
    for (auto const& one : kernel_cases(*accelerator, *stream, megabytes)) {
        if (::fnmatch(pattern.c_str(), one.name.c_str(), 0) == 0) { look_at(one.make(), device); }
    }
    look_at(pinned, pinned);
    look_at(pipeline_case(*accelerator, *stream, verifies_only ? 64ULL << 20U : 1ULL << 30U), pinned);
    if (values.count("json") > 0) {
        nlohmann::ordered_json json = {{"gpu", accelerator->describe()}, {"cases", nlohmann::ordered_json::array()}};
        for (auto const& row : rows) {
            json["cases"].push_back({{"name", row.name},
                                     {"bytes_per_second", row.bytes_per_second},
                                     {"median_bytes_per_second", row.median_bytes_per_second},
                                     {"of_floor", row.of_floor}});
        }
        std::ofstream(values["json"].as<std::string>()) << json.dump(1) << "\n";
    }
    return EXIT_SUCCESS;
}

}  // namespace

int main(int count, char** arguments) {
    po::options_description options("kernel_speed [options]: kernels of a GPU beside its own copies");
    options.add_options()("rounds", po::value<int>()->default_value(7), "of each case")(
        "case", po::value<std::string>()->default_value("*"), "shell pattern of names")(
        "verify-only", po::bool_switch(), "check results, also without a GPU where tests are built")(
        "json", po::value<std::string>(), "write the figures to this file")("help,h", "");
    try {
        po::variables_map values;
        po::store(po::parse_command_line(count, arguments, options), values);
        po::notify(values);
        if (values.count("help") > 0) {
            std::cout << options;
            return EXIT_SUCCESS;
        }
        return run(values);
    } catch (Error const& error) {
        fmt::print(stderr, "kernel_speed: {}\n", error.what());
        return error.exit_status();
    } catch (std::exception const& error) {
        fmt::print(stderr, "kernel_speed: {}\n", error.what());
        return EXIT_FAILURE;
    }
}
