// How fast kernels move bytes inside a GPU, beside a copy of the same GPU, and how fast files reach it, beside copies
// from pinned memory. Each case is checked against the host before it is timed. Minima and medians of several rounds,
// in which case and copy take turns.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <stdexcept>

#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <fnmatch.h>
#include <nlohmann/json.hpp>

#include <shardwise/error.hpp>

#include "desk.hpp"
#include "kernel_cases.hpp"
#include "sink/atomic_file.hpp"

namespace {

namespace po = boost::program_options;
using namespace shardwise;
using namespace shardwise::bench;

constexpr int kRepeats = 10;  ///< of a case in one measurement: launches and waits count for less
constexpr std::uint64_t kMiB = 1ULL << 20U;

struct Options {
    int rounds = 7;
    std::string pattern;
    bool verifies_only = false;
    std::string json;
};

struct Row {
    std::string name;
    std::string floor;  ///< name of the copy beside it
    double bytes_per_second = 0;
    double median_bytes_per_second = 0;
    double of_floor = 0;         ///< rate over that of the copy, minima of the seconds
    double median_of_floor = 0;  ///< the same of medians
};

double seconds_of_a_run(Stream& stream, KernelCase const& one) {
    auto const begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kRepeats; ++i) { one.run(); }
    finish(stream);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / kRepeats;
}

class Bench {
   public:
    Bench(Accelerator& accelerator, Options const& options)
        : accelerator_(accelerator), options_(options), stream_(accelerator.make_stream()) {}

    std::vector<Row> run() {
        auto const bytes = (options_.verifies_only ? 32 : 256) * kMiB;
        auto const device = copy_case(accelerator_, *stream_, bytes, CopyFrom::device);
        look_at(device, device);
        bool has_any = false;
        for (auto const& one : kernel_cases(accelerator_, *stream_, bytes / kMiB)) {
            if (::fnmatch(options_.pattern.c_str(), one.name.c_str(), 0) != 0) { continue; }
            look_at(one.make(), device);
            has_any = true;
        }
        if (!has_any) { throw Error(Errc::usage, fmt::format("--case {} fits no case", options_.pattern)); }
        auto const pinned = copy_case(accelerator_, *stream_, bytes, CopyFrom::pinned);
        look_at(pinned, pinned);
        look_at(pipeline_case(accelerator_, *stream_, options_.verifies_only ? 64 * kMiB : 1024 * kMiB), pinned);
        return std::move(rows_);
    }

   private:
    void look_at(KernelCase const& one, KernelCase const& floor) {
        check(one);
        if (options_.verifies_only) { return fmt::print("{}: right\n", one.name); }
        rows_.push_back(compare(one, floor));
        auto const& row = rows_.back();
        fmt::print("{:<40}{:>9.1f} GB/s, median {:>9.1f}; {:>4.0f} %, median {:>4.0f} % of {}\n", row.name,
                   row.bytes_per_second / 1e9, row.median_bytes_per_second / 1e9, 100 * row.of_floor,
                   100 * row.median_of_floor, row.floor);
        std::fflush(stdout);
    }

    /// Over memory that holds something else before.
    void check(KernelCase const& one) {
        Desk const desk{accelerator_, *stream_, 0};
        for (auto const& memory : one.results) { desk.write(Bytes(memory.bytes().size(), std::byte{0xA5}), memory); }
        if (one.is_right()) { throw std::runtime_error(fmt::format("{}: is right before it has run", one.name)); }
        one.run();
        finish(*stream_);
        if (!one.is_right()) { throw std::runtime_error(fmt::format("{}: the result is wrong", one.name)); }
    }

    /// Case and copy by turns: the clocks of a GPU move.
    Row compare(KernelCase const& one, KernelCase const& floor) {
        std::vector<double> own;
        std::vector<double> base;
        for (int round = -1; round < options_.rounds; ++round) {
            auto const floor_seconds = seconds_of_a_run(*stream_, floor);
            auto const seconds = seconds_of_a_run(*stream_, one);
            if (round < 0) { continue; }  // the first one warms up
            base.push_back(floor_seconds);
            own.push_back(seconds);
        }
        std::ranges::sort(own);
        std::ranges::sort(base);
        auto const rate = [](KernelCase const& c, double s) { return static_cast<double>(c.moved_bytes) / s; };
        auto const middle = own.size() / 2;
        return {one.name,
                floor.name,
                rate(one, own.front()),
                rate(one, own[middle]),
                rate(one, own.front()) / rate(floor, base.front()),
                rate(one, own[middle]) / rate(floor, base[middle])};
    }

    Accelerator& accelerator_;
    Options const& options_;
    std::unique_ptr<Stream> stream_;
    std::vector<Row> rows_;
};

void write_json(std::string const& path, std::string const& gpu, std::vector<Row> const& rows) {
    nlohmann::ordered_json json = {{"gpu", gpu}, {"cases", nlohmann::ordered_json::array()}};
    for (auto const& row : rows) {
        json["cases"].push_back({{"name", row.name},
                                 {"floor", row.floor},
                                 {"bytes_per_second", row.bytes_per_second},
                                 {"median_bytes_per_second", row.median_bytes_per_second},
                                 {"of_floor", row.of_floor},
                                 {"median_of_floor", row.median_of_floor}});
    }
    write_file_atomically(path, json.dump(1) + "\n");
}

std::unique_ptr<Accelerator> accelerator_for(Options const& options) {
    auto const visible = visible_gpus();
    if (visible.count > 0) { return open_gpu(0); }
    if (!options.verifies_only) { throw Error(Errc::unavailable, visible.obstacle); }
    if (auto emulated = emulated_gpu()) { return emulated; }
    throw Error(Errc::unavailable,
                fmt::format("{}; an emulated GPU comes with a build of the tests", visible.obstacle));
}

void run(Options const& options) {
    if (options.rounds < 1) { throw Error(Errc::usage, fmt::format("--rounds {}: at least 1", options.rounds)); }
    auto const accelerator = accelerator_for(options);
    fmt::print("{}\n", accelerator->describe());
    auto const rows = Bench(*accelerator, options).run();
    if (!options.json.empty()) { write_json(options.json, accelerator->describe(), rows); }
}

}  // namespace

int main(int count, char** arguments) {
    Options chosen;
    po::options_description options("kernel_speed [options]: kernels of a GPU beside its own copies");
    options.add_options()
        ("rounds", po::value(&chosen.rounds)->default_value(7), "of each case")
        ("case", po::value(&chosen.pattern)->default_value("*"), "shell pattern of names of kernels")
        ("verify-only", po::bool_switch(&chosen.verifies_only),
         "check results, also without a GPU where tests are built")
        ("json", po::value(&chosen.json), "write the figures to this file")
        ("help,h", "");
    try {
        po::variables_map values;
        po::store(po::parse_command_line(count, arguments, options), values);
        po::notify(values);
        if (values.count("help") > 0) {
            std::cout << options;
            return EXIT_SUCCESS;
        }
        run(chosen);
        return EXIT_SUCCESS;
    } catch (Error const& error) {
        fmt::print(stderr, "kernel_speed: {}\n", error.what());
        return error.exit_status();
    } catch (po::error const& error) {
        fmt::print(stderr, "kernel_speed: {}\n", error.what());
        return static_cast<int>(Errc::usage);
    } catch (std::exception const& error) {
        fmt::print(stderr, "kernel_speed: {}\n", error.what());
        return EXIT_FAILURE;
    }
}
