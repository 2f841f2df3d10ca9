// Whether GPUDirect Storage works for a file is found out by using it.
#include <utility>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "io/gds_driver.hpp"

namespace shardwise {
namespace {

constexpr int kMostInterruptions = 100;

CufileOutcome read_first_page(GdsFile const& file, GdsBuffer const& page) {
    CufileOutcome outcome;
    for (int i = 0; i < kMostInterruptions; ++i) {
        outcome = file.read(0, page.bytes().first(kSlotAlignment), page);
        if (failure_of(outcome) != CufileFailure::interrupt) { break; }
    }
    return outcome;
}

/// What succeeds with the compatible mode off should not have gone through the host, but versions have other modes.
bool went_through_host(GdsPaths const& before, GdsPaths const& after) {
    return after.is_known && after.posix_reads > before.posix_reads && after.p2p_reads == before.p2p_reads &&
           after.nvfs_reads == before.nvfs_reads;
}

}  // namespace

GdsTrial::GdsTrial(GdsDriver const& driver, Accelerator& accelerator) : driver_(driver), probe_(driver.probe()) {
    if (!probe_.works()) { return; }
    try {
        page_.emplace(driver, accelerator.allocate(kDevicePage));
    } catch (Error const& error) {
        if (error.code() != Errc::unavailable) { throw; }
        probe_ = {GdsState::memory_refused, 0, error.what()};
    }
}

GdsProbe GdsTrial::probe(FileRecord const& file) const {
    if (!probe_.works()) { return probe_; }
    GdsFile const opened(driver_, file);
    if (!opened.probe().works() || file.size_bytes == 0) { return opened.probe(); }
    auto const before = driver_.paths();
    auto const outcome = read_first_page(opened, *page_);
    if (outcome.value <= 0) {
        return {GdsState::file_refused, code_of(outcome),
                fmt::format("read a page for trial: {}", cufile_sentence(outcome))};
    }
    if (went_through_host(before, driver_.paths())) {
        return {GdsState::file_refused, 0, "cuFile read a page for trial through memory of the host"};
    }
    return {};
}

std::vector<std::string> gds_obstacles(std::span<FileRecord const> files, Accelerator& accelerator,
                                       GdsDriver const* driver) {
    accelerator.attach_thread();  // the driver takes the GPU of the thread that opens it
    GdsTrial const trial(driver == nullptr ? gds_driver() : *driver, accelerator);
    std::vector<std::string> obstacles;
    for (auto const& file : files) { obstacles.push_back(trial.probe(file).reason); }
    return obstacles;
}

std::string gds_obstacle(FileRecord const& file, Accelerator& accelerator, GdsDriver const* driver) {
    return gds_obstacles({&file, 1}, accelerator, driver).front();
}

}  // namespace shardwise
