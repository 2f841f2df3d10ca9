#include "exec/engine.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>

#include <fmt/format.h>

#include "comm/watch.hpp"
#include "util/units.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

constexpr std::size_t kMostLanes = 4;
constexpr std::size_t kUringDepth = 64;

std::vector<FileReader> choose_readers(Plan const& plan, ReaderChoice choice) {
    auto const obstacle = uring_obstacle();
    std::vector<FileReader> readers;
    for (auto const& facts : plan.facts) { readers.push_back(choose_reader(facts, choice, obstacle)); }
    return readers;
}

std::shared_ptr<ParameterStore::Data> make_store(Plan const& plan) {
    auto store = std::make_shared<ParameterStore::Data>();
    store->tensors = plan.tensors;
    store->arena = HostMemory(plan.store_bytes);
    for (auto const& tensor : plan.tensors) {
        store->spans.push_back(store->arena.bytes().subspan(tensor.store_offset, tensor.size_bytes));
    }
    return store;
}

/// All ranks must have computed the same plan: what differs here would be wrong shards or a deadlock later.
void compare_digests(Plan const& plan, Communicator& communicator) {
    WireWriter out;
    out.put(plan.digest);
    auto const digests = communicator.all_gather(out.take());
    for (std::size_t rank = 0; rank < digests.size(); ++rank) {
        if (digests[rank] == digests.front()) { continue; }
        throw Error(
            Errc::peer,
            fmt::format(
                "ranks 0 and {} made different plans ({} and {}): do they see the same files, options and build?", rank,
                WireReader(digests.front()).get_text(), WireReader(digests[rank]).get_text()))
            .on_rank(0);
    }
}

}  // namespace

Materialization::Engine::Engine(Plan const& plan, Context& context, LoadOptions options, ReaderHook const& hook)
    : plan_(plan), communicator_(context.communicator()), options_(std::move(options)), tracker_(plan_.tensors) {
    InPhase const phase(clock_, Phase::exchange);
    together(communicator_, [&] {
        if (communicator_.size() == plan_.mesh.world() && communicator_.rank() == plan_.rank) { return; }
        throw Error(Errc::usage, fmt::format("a plan for rank {} of {} was given to rank {} of {}", plan_.rank,
                                             plan_.mesh.world(), communicator_.rank(), communicator_.size()));
    });
    start(hook);
}

Materialization::Engine::~Engine() {
    if (state_ == State::loading && communicator_.size() > 1) {
        try {
            cancel();
        } catch (Error const&) {}  // said by the ranks that wait
    }
    if (state_ != State::done) { abandon(); }
}

void Materialization::Engine::start(ReaderHook const& hook) {
    compare_digests(plan_, communicator_);
    check_memory();
    if (communicator_.size() == 1) {
        transport_ = make_self_transport();
    } else {
        std::string note;
        transport_ = make_mpi_transport(communicator_, {plan_.slot_count, plan_.slot_bytes}, options_.transport, note);
        if (!note.empty()) { report_.notes.push_back(fmt::format("shared memory is not used: {}", note)); }
    }
    together(communicator_, [&] {
        store_ = make_store(plan_);
        {
            InPhase const phase(clock_, Phase::read);
            scales_ = LoadedScales(plan_);
        }
        lanes_ = std::make_unique<Lanes>(lane_count(), store_->spans, plan_.request_bytes, scales_.scalings());
        readers_ = std::make_unique<ReaderSet>(plan_.files, choose_readers(plan_, options_.reader),
                                               ReaderLimits{.depth = kUringDepth});
        if (hook) { hook(*readers_); }
        direct_ = std::make_unique<DirectFlow>(plan_, *readers_, *lanes_);
        waves_ = std::make_unique<WaveFlow>(plan_, *readers_, *lanes_, communicator_, *transport_);
        report_.transport = transport_->name();
        report_.lanes = lanes_->threads();
    });
    direct_->start();
}

/// As many as asked for or as there are cores, but their rooms must leave a buffer for reads that go on by themselves.
std::size_t Materialization::Engine::lane_count() const {
    auto const cores = usable_cores(communicator_.layout().neighbours.size());
    auto const wanted = options_.lanes > 0 ? options_.lanes : std::min(cores, kMostLanes);
    return std::min<std::size_t>(wanted, plan_.direct_buffers - 1);
}

/// Memory is promised lazily, so a node that cannot hold its ranks' stores would be found out by a killed process.
void Materialization::Engine::check_memory() {
    WireWriter out;
    out.put(plan_.store_bytes + plan_.totals.staging_bytes + scale_bytes(plan_));
    auto const needs = communicator_.all_gather(out.take());
    together(communicator_, [&] {
        auto const& layout = communicator_.layout();
        std::uint64_t needed = 0;
        for (auto const rank : layout.neighbours) {
            needed += WireReader(needs[static_cast<std::size_t>(rank)]).get<std::uint64_t>();
        }
        auto const available = available_memory_bytes();
        if (needed <= available) { return; }
        throw Error(Errc::memory,
                    fmt::format("the {} rank(s) of this node need {} for tensors and staging, {} are available",
                                layout.neighbours.size(), format_bytes(needed), format_bytes(available)));
    });
}

void Materialization::Engine::step() {
    bool has_moved = direct_->feed();
    has_moved = handle_read() || has_moved;
    has_moved = handle_copies() || has_moved;
    {
        InPhase const phase(clock_, Phase::exchange);
        std::optional<Outcome> failure;
        has_moved = waves_->advance(failure) || has_moved;
        if (failure) { end_together(*failure); }
        if (communicator_.is_alarm_raised()) { leave_together(); }
    }
    if (has_moved && !termination_requested()) {
        is_waiting_ = false;
    } else {
        pause_until_something_happens();
    }
}

void Materialization::Engine::pause_until_something_happens() {
    bool const waits_for_storage = direct_->reads_under_way() + waves_->reads_under_way() > 0;
    if (waits_for_storage && !termination_requested()) {
        InPhase const phase(clock_, Phase::read);
        readers_->poll(reads_, Wait::briefly);
        is_waiting_ = false;
        return;
    }
    if (lanes_->under_way() > 0 && !termination_requested()) {
        InPhase const phase(clock_, Phase::place);
        ::sched_yield();
        return;
    }
    InPhase const phase(clock_, Phase::exchange);
    communicator_.pause(!std::exchange(is_waiting_, true));
}

/// Takes in one completion: the copy that follows frees a buffer, and a new read should start before the next copy.
bool Materialization::Engine::handle_read() {
    if (next_result_ == reads_.size()) {
        reads_.clear();
        next_result_ = 0;
        readers_->poll(reads_, Wait::no);
    }
    if (next_result_ == reads_.size()) { return false; }
    auto const result = std::move(reads_[next_result_++]);
    auto const id = WorkId::unpack(result.id);
    if (result.error) { fail(*result.error); }
    if (id.kind == WorkId::Kind::wave) {
        waves_->on_read(id.wave);
    } else {
        InPhase const phase(clock_, Phase::place);
        direct_->on_read(id.index, result.data);
    }
    return true;
}

bool Materialization::Engine::handle_copies() {
    InPhase const phase(clock_, Phase::place);
    lanes_->poll(copies_);
    bool const has_any = !copies_.empty();
    for (auto const& copy : copies_) {
        auto const id = WorkId::unpack(copy.id);
        if (copy.error) { fail(*copy.error); }
        if (id.kind == WorkId::Kind::wave) {
            tracker_.count(waves_->blocks_of(id.wave, id.index));
            waves_->on_placed(id.wave);
        } else {
            tracker_.count(direct_->blocks_of(id.index));
            direct_->on_placed(id.index);
        }
    }
    copies_.clear();
    if (has_any) { tell_progress(); }
    return has_any;
}

void Materialization::Engine::fail(Error error) {
    error_ = std::move(error);
    communicator_.raise_alarm();
    leave_together();
}

/// Goes from agreement to agreement until the one that the failed rank came to with its failure. Agreements are
/// numbered alike on all ranks: nobody can pass one that the failed rank has not joined.
void Materialization::Engine::leave_together() {
    state_ = State::failed;
    auto const failure = error_ ? std::optional(error_->code()) : std::nullopt;
    auto agreement = waves_->take_agreement();
    for (;;) {
        if (!agreement) { agreement = communicator_.start_agreement(failure); }
        auto const outcome = communicator_.wait(*agreement);
        if (!outcome.is_ok()) { end_together(outcome); }
        agreement.reset();
    }
}

/// All ranks have agreed on a failure: they throw it, and can start another load.
void Materialization::Engine::end_together(Outcome outcome) {
    state_ = State::failed;
    lanes_->drain();
    abandon();
    communicator_.clear_alarm();
    throw_failure(communicator_, outcome, error_);
}

/// Messages may be under way and other ranks may be gone: memory that the network still knows, and windows whose
/// release needs everybody, are left to the end of the process.
void Materialization::Engine::abandon() noexcept {
    if (communicator_.size() == 1) { return; }
    static_cast<void>(waves_.release());
    static_cast<void>(transport_.release());
}

void Materialization::Engine::give_up(Error const& error) {
    state_ = State::failed;
    if (lanes_) { lanes_->drain(); }
    abandon();
    throw error;
}

void Materialization::Engine::finish_together() {
    auto const agreement = communicator_.start_agreement(std::nullopt);
    InPhase const phase(clock_, Phase::exchange);
    auto const outcome = communicator_.wait(*agreement);
    if (!outcome.is_ok()) { end_together(outcome); }
    state_ = State::done;
    tell_progress();
    fill_report();
    waves_.reset();
    direct_.reset();
    readers_.reset();
    lanes_.reset();
    scales_ = {};
    transport_.reset();
}

/// Goes on until @p is_enough or the load is over.
template <class Enough>
void Materialization::Engine::go_on(char const* caller, Enough is_enough) {
    if (state_ == State::failed) { throw Error(Errc::usage, fmt::format("{} after the load has failed", caller)); }
    try {
        while (state_ == State::loading && !is_enough()) { step(); }
    } catch (Error const& error) {
        if (state_ == State::loading) { give_up(error); }
        throw;
    }
}

std::optional<HeldTensor> Materialization::Engine::next() {
    if (next_tensor_ == plan_.tensors.size()) {
        wait();  // other ranks may still need this one
        return std::nullopt;
    }
    go_on("next()", [&] { return tracker_.is_complete(next_tensor_); });
    return ParameterStore(store_)[next_tensor_++];
}

ParameterStore Materialization::Engine::wait() {
    go_on("wait()", [&] {
        bool const is_complete = direct_->is_done() && waves_->is_done();
        if (is_complete) { finish_together(); }
        return is_complete;
    });
    return ParameterStore(store_);
}

void Materialization::Engine::cancel() {
    if (state_ != State::loading) { return; }
    fail(Error(Errc::peer, "the load was cancelled"));
}

void Materialization::Engine::tell_progress() {
    if (options_.on_progress) { options_.on_progress({tracker_.placed_bytes(), tracker_.total_bytes()}); }
}

void Materialization::Engine::fill_report() {
    clock_.enter(Phase::exchange);
    report_.seconds = {clock_.seconds(Phase::read), clock_.seconds(Phase::exchange), clock_.seconds(Phase::place),
                       clock_.total()};
    auto const counters = readers_->counters();
    std::uint64_t fallbacks = 0;
    for (std::size_t i = 0; i < counters.size(); ++i) {
        if (counters[i].requests == 0) { continue; }
        report_.readers.push_back({to_string(static_cast<ReaderKind>(i)), counters[i].bytes, counters[i].requests});
        report_.read_bytes += counters[i].bytes;
        report_.requests += counters[i].requests;
        fallbacks += counters[i].fallbacks;
    }
    if (scales_.requests() > 0) {
        report_.readers.push_back({"scales", scales_.read_bytes(), scales_.requests()});
        report_.read_bytes += scales_.read_bytes();
        report_.requests += scales_.requests();
    }
    if (fallbacks > 0) {
        report_.notes.push_back(
            fmt::format("{} direct read(s) were refused and read through the page cache", fallbacks));
    }
    for (std::size_t file = 0; file < plan_.files.size(); ++file) {
        auto const& choice = readers_->choices()[file];
        report_.files.push_back({plan_.files[file].path, to_string(choice.kind), choice.reason});
    }
    report_.exchanged_bytes = waves_->received_bytes();
    report_.placed_bytes = tracker_.placed_bytes();
    report_.staging_bytes = direct_->staging_bytes() + lanes_->staging_bytes() + waves_->staging_bytes() +
                            transport_->outbox_memory_bytes();
}

}  // namespace shardwise
