#include "exec/lanes.hpp"

#include <array>

#include <fmt/format.h>

#include "convert/runs.hpp"
#include "exec/traced.hpp"
#include "plan/cached_cost.hpp"

namespace shardwise {

Lanes::Lanes(std::size_t threads, TensorSpans tensors, std::uint64_t room_bytes, Scalings scalings, TraceLog* log)
    : tensors_(tensors), fresh_pages_(tensors), scalings_(scalings), log_(log), room_bytes_(room_bytes) {
    for (std::size_t i = 1; i < threads; ++i) {
        workers_.emplace_back([this, i](std::stop_token const& stop) { work(stop, i); });
    }
}

Lanes::~Lanes() {
    {
        // Under the lock, or a worker that has just found nothing to do sleeps through it.
        std::lock_guard const lock(mutex_);
        for (auto& worker : workers_) { worker.request_stop(); }
    }
    work_added_.notify_all();
}

/// Calls of the reader for the runs of a block that lie close together, as ScatteredRuns counts them.
void Lanes::read_runs(PlaceJob const& job, CopyBlock const& block) {
    thread_local std::array<std::byte, kScatteredGap> unwanted;  // what lies between runs; nobody reads it
    auto const runs_of_call = block.runs() / estimate_ranges(block, kScatteredGap).ranges;
    std::vector<std::span<std::byte>> stretches;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint64_t runs = 0;
    for_each_run(block, [&](std::uint64_t source, std::uint64_t target, std::uint64_t bytes) {
        if (runs == 0) {
            begin = source;
        } else if (source > end) {
            stretches.push_back(std::span(unwanted).first(source - end));
        }
        stretches.push_back(tensors_[block.tensor].subspan(target, bytes));
        end = source + bytes;
        if (++runs < runs_of_call) { return; }
        job.reader->scatter({job.range.file, job.range.begin + begin, end - begin}, stretches);
        stretches.clear();
        runs = 0;
    });
}

void Lanes::read_and_place(PlaceJob const& job, Room& room) {
    if (job.is_scattered) {
        for (auto const& block : job.blocks) { read_runs(job, block); }
        return;
    }
    if (job.reader->fills_room() && room.bytes().empty()) {
        room = Room(room_bytes_);
        rooms_bytes_ += room_bytes_;
    }
    auto const data = job.reader->read(job.range, room.bytes());
    place(job.blocks, data, tensors_, scalings_);
    std::uint64_t used = 0;
    for (auto const& block : job.blocks) { used += block.bytes(); }
    job.reader->release(data, used);
}

PlaceDone Lanes::run(PlaceJob const& job, Room& room, std::size_t lane) {
    PlaceDone done{job.id, {}};
    Traced const traced(log_, [&] {
        bool const reads = job.reader != nullptr;
        return TraceEvent{fmt::format("lane {}", lane), reads ? "read and place" : "place", 0, 0,
                          reads ? job.range.size_bytes : job.source.size()};
    });
    fresh_pages_.bring_in(job.blocks);
    try {
        if (job.reader != nullptr) {
            read_and_place(job, room);
        } else {
            job.is_packed ? unpack(job.blocks, job.source, tensors_, scalings_)
                          : place(job.blocks, job.source, tensors_, scalings_);
        }
    } catch (Error const& error) { done.error = error; }
    return done;
}

void Lanes::submit(PlaceJob job) {
    ++under_way_;
    if (workers_.empty()) {
        done_.push_back(run(job, own_room_, 0));
        return;
    }
    {
        std::lock_guard const lock(mutex_);
        queue_.push_back(job);
    }
    work_added_.notify_one();
}

std::optional<PlaceJob> Lanes::take() {
    std::lock_guard const lock(mutex_);
    if (queue_.empty()) { return std::nullopt; }
    auto const job = queue_.front();
    queue_.pop_front();
    return job;
}

void Lanes::poll(std::vector<PlaceDone>& done) {
    if (auto const job = take()) {
        auto finished = run(*job, own_room_, 0);
        std::lock_guard const lock(mutex_);
        done_.push_back(std::move(finished));
    }
    std::lock_guard const lock(mutex_);
    under_way_ -= done_.size();
    std::move(done_.begin(), done_.end(), std::back_inserter(done));
    done_.clear();
}

void Lanes::pack(std::span<CopyBlock const> blocks, std::span<std::byte const> source, std::span<std::byte> packed) {
    shardwise::pack(blocks, source, packed);
}

void Lanes::drain() noexcept {
    std::vector<PlaceDone> ignored;
    while (under_way_ > 0) { poll(ignored); }
}

void Lanes::work(std::stop_token const& stop, std::size_t lane) {
    Room room;
    std::unique_lock lock(mutex_);
    for (;;) {
        work_added_.wait(lock, [&] { return stop.stop_requested() || !queue_.empty(); });
        if (stop.stop_requested()) { return; }
        auto const job = queue_.front();
        queue_.pop_front();
        lock.unlock();
        auto finished = run(job, room, lane);
        lock.lock();
        done_.push_back(std::move(finished));
    }
}

}  // namespace shardwise
