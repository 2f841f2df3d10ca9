#include "exec/engine.hpp"

#include <array>
#include <map>

#include <fmt/format.h>
#include <sched.h>

#include "comm/watch.hpp"
#include "exec/lane_policy.hpp"
#include "exec/wave_messages.hpp"
#include "util/units.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

std::shared_ptr<ParameterStore::Data> make_store(Plan const& plan, Allocation allocation, LoadBackend& backend) {
    auto store = std::make_shared<ParameterStore::Data>();
    store->tensors = plan.tensors;
    store->accelerator = backend.accelerator();
    if (allocation == Allocation::arena) { store->memory.push_back(backend.allocate_arena(plan.store_bytes)); }
    for (auto const& tensor : plan.tensors) {
        if (allocation == Allocation::tensors) {
            store->memory.push_back(backend.allocate_tensor(tensor.size_bytes));
            store->spans.push_back(store->memory.back().bytes());
        } else {
            store->spans.push_back(store->memory.front().bytes().subspan(tensor.store_offset, tensor.size_bytes));
        }
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

Materialization::Engine::Engine(Plan const& plan, Context& context, LoadOptions options,
                                MakeBackend const& make_backend, ReaderHook const& hook)
    : plan_(plan),
      communicator_(context.communicator()),
      options_(std::move(options)),
      tracker_(plan_.tensors) {
    clock_.set_log(options_.trace.get());
    InPhase const phase(clock_, Phase::exchange);
    together(communicator_, [&] {
        if (communicator_.size() == plan_.mesh.world() && communicator_.rank() == plan_.rank) { return; }
        throw Error(Errc::usage, fmt::format("a plan for rank {} of {} was given to rank {} of {}", plan_.rank,
                                             plan_.mesh.world(), communicator_.rank(), communicator_.size()));
    });
    start(make_backend, hook);
}

Materialization::Engine::~Engine() {
    if (state_ == State::loading && communicator_.size() > 1) {
        try {
            cancel();
        } catch (Error const&) {}  // said by the ranks that wait
    }
    if (state_ != State::done) { abandon(); }
}

void Materialization::Engine::start(MakeBackend const& make_backend, ReaderHook const& hook) {
    compare_digests(plan_, communicator_);
    together(communicator_, [&] { backend_ = make_backend(); });
    check_memory();
    transport_ = backend_->make_transport(plan_, options_.transport, report_.notes);
    together(communicator_, [&] { make_parts(hook); });
    direct_->start();
}

void Materialization::Engine::make_parts(ReaderHook const& hook) {
    store_ = make_store(plan_, options_.allocation, *backend_);
    {
        InPhase const phase(clock_, Phase::read);
        scales_ = LoadedScales(plan_);
    }
    auto const slot_bytes = plan_.slot_count * plan_.slot_bytes;
    auto const buffer_bytes = plan_.direct.empty() ? 0 : plan_.direct_bytes;
    staging_ = backend_->allocate_staging(slot_bytes + buffer_bytes);
    auto const message_room = exchanges_at_once(plan_, *transport_) * message_bytes(plan_);
    messages_ = backend_->allocate_staging(has_far_ranks(plan_, *transport_) ? message_room : 0);
    placer_ = backend_->make_placer(plan_, store_->spans, scales_.scalings(), options_, report_.lanes_reason);
    readers_ = backend_->make_readers(plan_, options_, staging_);
    if (hook) { hook(*readers_); }
    readers_->set_log(options_.trace.get());
    auto const landing_places = store_->accelerator ? TensorSpans() : store_->spans;
    direct_ =
        std::make_unique<DirectFlow>(plan_, *readers_, *placer_, staging_.bytes().subspan(slot_bytes), landing_places);
    waves_ = std::make_unique<WaveFlow>(plan_, *readers_, *placer_, communicator_, *transport_,
                                        staging_.bytes().first(slot_bytes), messages_.bytes(), options_.trace.get());
    report_.transport = transport_->name();
    report_.lanes = placer_->threads();
}

/// Memory is promised lazily, so a node that cannot hold its ranks' stores would be found out by a killed process.
void Materialization::Engine::check_memory() {
    auto const needs = backend_->memory_needs(plan_);
    WireWriter out;
    out.put<std::uint64_t>(needs.size());
    for (auto const& need : needs) {
        out.put(need.pool);
        out.put(need.needed_bytes);
    }
    auto const messages = communicator_.all_gather(out.take());
    together(communicator_, [&] {
        struct Sum {
            std::uint64_t bytes = 0;
            std::size_t ranks = 0;
        };
        std::map<std::string, Sum> sums;
        for (auto const& message : messages) {
            WireReader in(message);
            for (auto i = in.get_count(); i > 0; --i) {
                auto& sum = sums[in.get_text()];
                sum.bytes += in.get<std::uint64_t>();
                ++sum.ranks;
            }
        }
        for (auto const& need : needs) {
            auto const& sum = sums[need.pool];
            if (sum.bytes <= need.available_bytes) { continue; }
            throw Error(Errc::memory,
                        fmt::format("the {} rank(s) of {} need {} for tensors and staging, {} are available", sum.ranks,
                                    need.owner, format_bytes(sum.bytes), format_bytes(need.available_bytes)));
        }
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
    bool const is_placing = placer_->under_way() > 0 && !termination_requested();
    if (is_placing && placer_->is_polled()) {
        InPhase const phase(clock_, Phase::place);
        ::sched_yield();
        return;
    }
    bool const waits_for_storage = direct_->reads_under_way() + waves_->reads_under_way() > 0;
    if (waits_for_storage && !termination_requested()) {
        InPhase const phase(clock_, Phase::read);
        readers_->poll(reads_, placer_->make_next_ready() ? Wait::no : Wait::briefly);
        is_waiting_ = false;
        return;
    }
    if (is_placing) {
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
    placer_->poll(copies_);
    bool const has_any = !copies_.empty();
    for (auto const& copy : copies_) {
        auto const id = WorkId::unpack(copy.id);
        if (copy.error) { fail(*copy.error); }
        if (id.kind == WorkId::Kind::wave) {
            auto const& wave = plan_.waves[id.wave];
            tracker_.count(wave.blocks_of(wave.receives[id.index]));
            waves_->on_placed(id.wave);
        } else {
            tracker_.count(plan_.blocks_of(plan_.direct[id.index]));
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
    placer_->drain();
    abandon();
    communicator_.clear_alarm();
    throw_failure(communicator_, outcome, error_);
}

/// Messages may be under way and other ranks may be gone: memory that the network still knows, and windows whose
/// release needs everybody, are left to the end of the process.
void Materialization::Engine::abandon() noexcept {
    if (communicator_.size() == 1 || !transport_) { return; }
    transport_->abort();
    static_cast<void>(transport_.release());
    static_cast<void>(std::make_unique<std::array<Memory, 2>>(std::array{staging_, messages_}).release());
}

/// Another rank is gone, or the job is to end: there is nobody to agree with.
void Materialization::Engine::give_up(Error const& error) {
    state_ = State::failed;
    if (placer_) { placer_->drain(); }
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
    placer_.reset();
    scales_ = {};
    transport_.reset();
    staging_ = {};
    messages_ = {};
}

/// Goes on until @p is_enough or the load is over.
template <class Enough>
void Materialization::Engine::go_on(char const* caller, Enough is_enough) {
    if (state_ == State::failed) { throw Error(Errc::usage, fmt::format("{} after the load has failed", caller)); }
    try {
        while (state_ == State::loading && !is_enough()) { step(); }
    } catch (Error const& error) {
        if (state_ != State::loading) { throw; }
        if (error.code() == Errc::peer) { give_up(error); }
        fail(error);
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
    if (auto const refused = counters[static_cast<std::size_t>(ReaderKind::gds)].fallbacks; refused > 0) {
        fallbacks -= refused;
        report_.notes.push_back(
            fmt::format("{} read(s) that GPUDirect Storage refused went through pinned memory", refused));
    }
    if (fallbacks > 0) {
        report_.notes.push_back(
            fmt::format("{} direct read(s) were refused and read through the page cache", fallbacks));
    }
    for (std::size_t file = 0; file < plan_.files.size(); ++file) {
        auto const& choice = readers_->choices()[file];
        report_.files.push_back({plan_.files[file].path, to_string(choice.kind), choice.reason});
    }
    report_.first_tensor_seconds = tracker_.first_seconds();
    report_.priority_seconds = tracker_.class_seconds();
    report_.exchanged_bytes = waves_->received_bytes();
    report_.placed_bytes = tracker_.placed_bytes();
    report_.landed_bytes = direct_->landed_bytes();
    auto const flows = direct_->staging_bytes() + waves_->staging_bytes();
    report_.staging_bytes = placer_->staging_bytes() + transport_->staging_bytes();
    if (auto const gpu = backend_->accelerator()) {
        report_.staging_bytes += readers_->staging_bytes();
        report_.device_staging_bytes = flows;
        report_.device_peak_bytes = gpu->peak_bytes();
        report_.device = gpu->describe();
    } else {
        report_.staging_bytes += flows;
    }
    if (auto const paths = readers_->gds_paths()) {
        report_.notes.push_back(fmt::format("reads of cuFile: {}", to_text(*paths)));
    }
    bool const uses_cores = backend_->accelerator() || wanted_lanes(plan_, options_) > 1;
    auto note = uses_cores ? own_binding_note(communicator_.layout().neighbours.size()) : std::string();
    if (!note.empty()) { report_.notes.push_back(std::move(note)); }
}

}  // namespace shardwise
