// shardwise load: from options to ranks that hold their tensors, and the report of it.
#include <array>
#include <chrono>
#include <cstdio>

#include <fmt/format.h>

#include <shardwise/shardwise.hpp>
#include <shardwise/verify.hpp>

#include "cli/commands.hpp"
#include "comm/communicator.hpp"
#include "device/host_memory.hpp"
#include "exec/choose_device.hpp"
#include "exec/handoff.hpp"
#include "exec/write_rank_files.hpp"
#include "report/stats.hpp"
#include "report/trace_report.hpp"
#include "sink/atomic_file.hpp"

namespace shardwise::cli {
namespace {

/// Seconds since the last call, or since it was made; what took them goes into the log, if there is one.
class Lap {
   public:
    explicit Lap(TraceLog* log = nullptr) : log_(log), noted_(log == nullptr ? 0 : log->now()) {}

    double take(char const* what = "") {
        auto const now = std::chrono::steady_clock::now();
        auto const seconds = std::chrono::duration<double>(now - std::exchange(since_, now)).count();
        if (log_ != nullptr) {
            auto const end = log_->now();
            log_->add({"command", what, std::exchange(noted_, end), end});
        }
        return seconds;
    }

   private:
    std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
    TraceLog* log_;
    double noted_;  ///< what the log has goes up to here
};

/// The mesh of a job of @p world ranks: what was not given follows from it.
Mesh complete_mesh(Mesh mesh, std::int64_t world) {
    Mesh others = mesh;
    others.tp = 1;
    others.ep = 0;
    check(others);
    auto const stated = [&] {
        std::vector<std::string> options;
        for (auto const& [name, size] : {std::pair("pp", mesh.pp), std::pair("dp", mesh.dp),
                                         std::pair("fsdp", mesh.fsdp), std::pair("tp", mesh.tp)}) {
            if (size > 1 || (name == std::string_view("tp") && size == 1)) {
                options.push_back(fmt::format("--{} {}", name, size));
            }
        }
        return fmt::format("{}", fmt::join(options, " x "));
    };
    if (mesh.tp == 0) {
        if (world % others.world() != 0) {
            throw Error(Errc::usage, fmt::format("{} does not divide the {} ranks of the job", stated(), world));
        }
        mesh.tp = world / others.world();
    }
    check(mesh);
    if (mesh.world() != world) {
        throw Error(Errc::usage, fmt::format("{} make {} ranks, the job has {}", stated(), mesh.world(), world));
    }
    return mesh;
}

/// What works on GPUs only asks for one. Files are written from memory of the host, so --out does not.
Device wanted_device(Options const& options, Communicator& communicator) {
    if (options.format == RankFormat::cuda_ipc) {
        return choose_device(Device::cuda, "--format cuda-ipc", communicator);
    }
    if (options.device) { return choose_device(options.device, "--device cuda", communicator); }
    if (options.reader == ReaderChoice::gds) { return choose_device(Device::cuda, "--io gds", communicator); }
    if (options.transport == TransportChoice::nccl) {
        return choose_device(Device::cuda, "--transport nccl", communicator);
    }
    bool const fits_host_only = !options.out.empty() || options.reader == ReaderChoice::mmap ||
                                options.transport == TransportChoice::shm;
    return fits_host_only ? Device::host : choose_device(std::nullopt, "", communicator);
}

char const* to_word(ReaderChoice choice) {
    constexpr std::array kWords = {"auto", "mmap", "uring", "pread", "gds"};
    return kWords[static_cast<std::size_t>(choice)];
}

void warn(Context const& context, std::span<std::string const> warnings) {
    if (context.rank() != 0) { return; }
    for (auto const& warning : warnings) { fmt::print(stderr, "shardwise: warning: {}\n", warning); }
}

/// Everything of a load that its stages hand on.
struct LoadRun {
    Options const& options;
    Context& context;
    RankStats stats;
    JobFacts facts;
    std::optional<Architecture> architecture;
    std::shared_ptr<TraceLog> trace;

    void run();

   private:
    void check_outputs();
    Catalog open_checkpoint(Lap& lap);
    Plan make_own_plan(Catalog const& catalog, Lap& lap, std::vector<FileFacts> const& files);
    ParameterStore materialize(Plan const& plan, Lap& lap);
    void report();
    void write_trace();
};

/// Whether results can be written is found out before minutes are spent on them.
void LoadRun::check_outputs() {
    together(context.communicator(), [&] {
        if (!options.stats.empty() && context.rank() == 0) { PendingFile const stats_file(options.stats); }
        if (!options.trace.empty() && context.rank() == 0) { PendingFile const trace_file(options.trace); }
        if (options.out.empty()) { return; }
        if (options.format == RankFormat::hdf5) { require_hdf5(); }
        PendingFile const rank_file(rank_file_path(options.out, context.rank(), options.format));
    });
}

Catalog LoadRun::open_checkpoint(Lap& lap) {
    auto catalog = Catalog::open(options.paths.front(), context);
    warn(context, catalog.warnings());
    stats.checkpoint_bytes = catalog.tensor_bytes();
    facts.checkpoint = catalog.root();
    stats.open_seconds = lap.take("open");
    return catalog;
}

Plan LoadRun::make_own_plan(Catalog const& catalog, Lap& lap, std::vector<FileFacts> const& files) {
    Plan plan;
    together(context.communicator(), [&] {
        architecture = chosen_architecture(options, catalog);
        plan = make_plan(catalog, *architecture, options.plan, context.rank(), files);
    });
    warn(context, plan.warnings);
    facts.mesh = plan.mesh;
    facts.architecture = plan.architecture;
    facts.plan_name = plan.plan_name;
    facts.plan_digest = plan.digest;
    facts.tensors = plan.tensors.size() + plan.elsewhere.size();
    facts.differences = plan.differences;
    facts.strategy_bytes = plan.strategy_bytes;
    facts.files_at_once = plan.files_at_once;
    facts.files_at_once_reason = plan.files_at_once_reason;
    facts.needed_once_bytes = plan.strategy_bytes.direct + plan.strategy_bytes.cooperative + plan.strategy_bytes.shared;
    stats.needed_bytes = plan.totals.needed_bytes;
    stats.plan_seconds = lap.take("plan");
    return plan;
}

ParameterStore LoadRun::materialize(Plan const& plan, Lap& lap) {
    ProgressLine progress(context.rank() == 0 ? options.progress : ProgressMode::never);
    LoadOptions load_options;
    load_options.reader = options.reader;
    load_options.transport = options.transport;
    load_options.lanes = options.lanes;
    load_options.lane_policy = options.lane_policy;
    load_options.depth = options.depth;
    load_options.trace = trace;
    load_options.allocation = options.allocation;
    load_options.on_progress = [&](Progress const& done) { progress.update(done); };
    auto load = spawn_tp_materialize(plan, context, std::move(load_options));
    auto store = load.wait();
    auto const& report = load.report();
    stats.exchange_seconds = report.seconds.exchange;
    stats.place_seconds = report.seconds.place;
    stats.read_seconds = lap.take("load") - report.seconds.exchange - report.seconds.place;
    stats.read_bytes = report.read_bytes;
    stats.landed_bytes = report.landed_bytes;
    stats.exchanged_bytes = report.exchanged_bytes;
    stats.stored_bytes = report.placed_bytes;
    stats.requests = report.requests;
    stats.staging_bytes = report.staging_bytes;
    stats.device_staging_bytes = report.device_staging_bytes;
    stats.device_peak_bytes = report.device_peak_bytes;
    stats.readers = report.readers;
    stats.lanes = report.lanes;
    stats.first_tensor_seconds = report.first_tensor_seconds;
    stats.priority_seconds = report.priority_seconds;
    facts.lanes_reason = report.lanes_reason;
    facts.priority = options.plan.priority;
    facts.transport = report.transport;
    facts.device = to_string(plan.device);
    facts.device_name = report.device;
    facts.files = report.files;
    facts.notes = report.notes;
    return store;
}

void LoadRun::report() {
    stats.peak_rss_bytes = peak_resident_bytes();
    std::vector<RankStats> ranks;
    for (auto const& message : context.communicator().all_gather(encode(stats))) {
        ranks.push_back(decode_rank_stats(message));
    }
    together(context.communicator(), [&] {
        if (context.rank() != 0) { return; }
        if (!options.stats.empty()) { write_file_atomically(options.stats, stats_json(facts, ranks)); }
        fmt::print("{}", stats_table(facts, ranks));
        std::fflush(stdout);
    });
}

/// Rank after rank, so that rank 0 holds one rank's events and the text.
void LoadRun::write_trace() {
    if (!trace) { return; }
    auto& communicator = context.communicator();
    TraceText text;
    for (int rank = 0; rank < context.size(); ++rank) {
        auto own =
            rank == context.rank() ? encode(RankTrace{trace->events(), trace->left_out()}) : std::vector<std::byte>{};
        auto const message = communicator.broadcast(std::move(own), rank);
        if (context.rank() == 0) { text.add_rank(rank, decode_rank_trace(message)); }
    }
    together(communicator, [&] {
        if (context.rank() == 0) { write_file_atomically(options.trace, text.finish()); }
    });
}

void LoadRun::run() {
    facts.io = to_word(options.reader);
    check_outputs();
    // All ranks come here from one agreement: their clocks begin together.
    if (!options.trace.empty()) { trace = std::make_shared<TraceLog>(); }
    Lap whole;
    Lap lap(trace.get());
    auto const catalog = open_checkpoint(lap);
    auto const files = probe_files(catalog, context);
    stats.open_seconds += lap.take("look at files");
    auto const plan = make_own_plan(catalog, lap, files);
    auto const store = materialize(plan, lap);
    if (options.verify) {
        verify_load(store, plan, catalog, *architecture, options.plan, context);
        stats.verify_seconds = lap.take("verify");
    }
    if (!options.out.empty()) {
        stats.written_bytes = write_rank_files(store, plan, context, options.out, options.format,
                                               {catalog, *architecture, options.plan});
        stats.write_seconds = lap.take("write");
    }
    stats.total_seconds = whole.take();
    report();
    write_trace();
    if (options.format == RankFormat::cuda_ipc) { hold_handoff(options.out, context.communicator()); }
}

}  // namespace

void run_load(Options options, Context& context) {
    together(context.communicator(), [&] { options.plan.mesh = complete_mesh(options.plan.mesh, context.size()); });
    options.plan.device = wanted_device(options, context.communicator());
    LoadRun{options, context, {}, {}, {}, {}}.run();
}

}  // namespace shardwise::cli
