// What this machine does in a second, measured with the readers, windows and messages that loads use.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include <shardwise/catalog.hpp>
#include <shardwise/materialize.hpp>

#include "comm/communicator.hpp"
#include "comm/transport.hpp"
#include "device/host_memory.hpp"
#include "exec/lane_policy.hpp"
#include "exec/lanes.hpp"
#include "io/reader_set.hpp"
#include "plan/staging_budget.hpp"
#include "util/checked.hpp"
#include "util/units.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

constexpr std::uint64_t kLongRequest = 2ULL << 20U;
constexpr std::uint64_t kShortRequest = 64ULL << 10U;
constexpr std::uint64_t kSampleBytes = 1ULL << 30U;  ///< of all ranks together
constexpr std::uint64_t kShortSampleBytes = 64ULL << 20U;
constexpr std::uint64_t kStripeBytes = 4ULL << 20U;
constexpr std::uint64_t kLineBytes = 16ULL << 20U;        ///< of a wave on a node, at most
constexpr std::uint64_t kExchangedBytes = 128ULL << 20U;  ///< by each rank
constexpr std::size_t kMessages = 32;
constexpr std::size_t kAgreements = 100;

class Calibration {
   public:
    Calibration(Catalog const& catalog, Context& context, std::vector<std::string>& notes)
        : catalog_(catalog),
          communicator_(context.communicator()),
          facts_(probe_files(catalog, context)),
          neighbours_(communicator_.layout().neighbours),
          notes_(notes) {}

    MachineProfile measure() {
        MachineProfile profile;
        profile.name = "calibrated";
        profile.ranks_per_node = static_cast<std::int64_t>(neighbours_.size());
        profile.step_seconds = seconds_of_step();
        measure_reads(profile);
        measure_cached(profile);
        measure_exchange(profile);
        measure_network(profile);
        return profile;
    }

   private:
    /// Seconds of the slowest rank.
    template <class Work>
    double timed(Work work) {
        double own = 0;
        together(communicator_, [] {});  // all begin at the same time
        together(communicator_, [&] {
            auto const begin = std::chrono::steady_clock::now();
            work();
            own = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        });
        WireWriter out;
        out.put(own);
        double slowest = 0;
        for (auto const& message : communicator_.all_gather(out.take())) {
            slowest = std::max(slowest, WireReader(message).get<double>());
        }
        return slowest;
    }

    /// Seconds of the fastest of some passes: what a virtual machine's host or another program takes from one of them,
    /// which is over in a moment, is no figure of the machine.
    template <class Pass>
    static double fastest(Pass pass) {
        constexpr int kPasses = 3;
        double seconds = pass();
        for (int i = 1; i < kPasses; ++i) { seconds = std::min(seconds, pass()); }
        return seconds;
    }

    /// What @p make makes; all ranks fail together where one does.
    template <class Make>
    auto made(Make make) {
        std::optional<decltype(make())> result;
        together(communicator_, [&] { result.emplace(make()); });
        return *std::move(result);
    }

    /// This rank's share of the first bytes of the data of all files, in requests.
    std::vector<FileRange> sample(std::uint64_t most_bytes, std::uint64_t request_bytes) const {
        std::vector<FileRange> own;
        auto const ranks = static_cast<std::size_t>(communicator_.size());
        std::uint64_t taken = 0;
        std::size_t number = 0;
        for (std::uint32_t file = 0; file < catalog_.files().size(); ++file) {
            auto const size = catalog_.files()[file].size_bytes;
            for (std::uint64_t at = 0; at + request_bytes <= size && taken < most_bytes; at += request_bytes) {
                if (number++ % ranks == static_cast<std::size_t>(communicator_.rank())) {
                    own.push_back({file, at, request_bytes});
                }
                taken += request_bytes;
            }
        }
        if (taken == 0) {
            throw Error(Errc::input, fmt::format("{}: no file is {} long: too little to measure with", catalog_.root(),
                                                 format_bytes(request_bytes)));
        }
        return own;
    }

    /// Bytes of all ranks.
    std::uint64_t bytes_of(std::vector<FileRange> const& ranges) {
        std::uint64_t own = 0;
        for (auto const& range : ranges) { own += range.size_bytes; }
        return communicator_.sum({own}).front();
    }

    double node_share() const noexcept {
        return static_cast<double>(neighbours_.size()) / static_cast<double>(communicator_.size());
    }

    std::size_t most_ranks_of_a_node() const {
        auto const& layout = communicator_.layout();
        std::vector<std::size_t> ranks(layout.node_count);
        for (auto const node : layout.node_of) { ++ranks[node]; }
        return std::ranges::max(ranks);
    }

    double seconds_of_step() {
        return timed([&] {
                   for (std::size_t i = 0; i < kAgreements; ++i) {
                       communicator_.wait(*communicator_.start_agreement(std::nullopt));
                   }
               }) /
               static_cast<double>(kAgreements);
    }

    void read(std::vector<FileRange> const& ranges, std::uint64_t request_bytes) const {
        constexpr std::size_t kBuffers = 32;
        auto const obstacle = uring_obstacle();
        std::vector<FileReader> choices;
        for (auto facts : facts_) {
            facts.cached_fraction = 0;
            choices.push_back(choose_reader(facts, ReaderChoice::automatic, obstacle));
        }
        HostMemory const memory(kBuffers *
                                request_bytes);  // outlives the readers: reads may be under way after an error
        ReaderSet readers(catalog_.files(), std::move(choices), {.depth = kBuffers});
        std::vector<std::size_t> free_buffers;
        for (std::size_t i = 0; i < kBuffers; ++i) { free_buffers.push_back(i); }
        std::vector<ReadResult> results;
        for (std::size_t next = 0, done = 0; done < ranges.size();) {
            while (next < ranges.size() && !free_buffers.empty() && readers.has_room(ranges[next].file)) {
                auto const buffer = free_buffers.back();
                free_buffers.pop_back();
                readers.submit({buffer, ranges[next++], memory.bytes().subspan(buffer * request_bytes, request_bytes)});
            }
            readers.start();
            results.clear();
            readers.poll(results, Wait::briefly);
            for (auto const& result : results) {
                if (result.error) { throw *result.error; }
                free_buffers.push_back(result.id);
            }
            done += results.size();
        }
    }

    void measure_reads(MachineProfile& profile) {
        bool const is_past_cache =
            std::ranges::all_of(facts_, [](FileFacts const& facts) { return facts.allows_direct && !facts.is_memory; });
        if (!is_past_cache) {
            notes_.emplace_back(
                "some files cannot be read past the page cache: what is in it was not read from storage");
        }
        auto const ranges = made([&] { return sample(kSampleBytes, kLongRequest); });
        auto const bytes = static_cast<double>(bytes_of(ranges));
        auto const rate = bytes / timed([&] { read(ranges, kLongRequest); });
        profile.read_bytes_per_second = rate * node_share();
        profile.shared_bytes_per_second = communicator_.layout().node_count > 1 ? rate : 0;

        auto const short_ranges = made([&] { return sample(kShortSampleBytes, kShortRequest); });
        auto const short_bytes = static_cast<double>(bytes_of(short_ranges));
        auto const seconds = timed([&] { read(short_ranges, kShortRequest); });
        auto const requests = short_bytes / static_cast<double>(kShortRequest) * node_share();
        profile.request_seconds = std::max(0.0, seconds - short_bytes / rate) / requests;
    }

    void measure_cached(MachineProfile& profile) {
        auto const ranges = made([&] { return sample(kSampleBytes, kLongRequest); });
        auto const bytes = static_cast<double>(bytes_of(ranges));
        auto const reader = make_cached_reader(catalog_.files());
        auto const pass = [&] {
            auto const memory =
                made([&] { return HostMemory(std::max(ranges.size(), std::size_t{1}) * kLongRequest); });
            return timed([&] { copy(ranges, *reader, memory.bytes()); });
        };
        pass();  // fills the page cache
        profile.cached_bytes_per_second = bytes / fastest(pass) * node_share();
    }

    /// With as many threads as a load of a large checkpoint has.
    void copy(std::vector<FileRange> const& ranges, InlineReader& reader, std::span<std::byte> into) const {
        auto const threads = std::min(kMostLanes, own_usable_cores(neighbours_.size()));
        std::vector<CopyBlock> blocks(ranges.size());
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            blocks[i].target = i * kLongRequest;
            blocks[i].run_bytes = ranges[i].size_bytes;
        }
        Lanes lanes(threads, {&into, 1}, kLongRequest);
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            lanes.submit(
                {.id = i, .blocks = {&blocks[i], 1}, .reader = &reader, .range = ranges[i], .is_scattered = true});
        }
        std::vector<PlaceDone> done;
        while (lanes.under_way() > 0) { lanes.poll(done); }
        for (auto const& job : done) {
            if (job.error) { throw *job.error; }
        }
    }

    /// As in waves: everybody copies a stripe out, all agree, everybody copies as much in. Stripes and outboxes take
    /// turns as those of a load do: what was written lies in memory, not in a cache, when it is read.
    void measure_exchange(MachineProfile& profile) {
        auto const seats = most_ranks_of_a_node();  // all ranks go through as many agreements
        auto const slots = divide_staging(PlanOptions{}.staging_bytes, Mesh{}, Device::host).slot_count;
        auto const stripe_bytes =
            std::clamp(align_down(kLineBytes / seats, kSlotAlignment), kSlotAlignment, kStripeBytes);
        auto const count = kExchangedBytes / stripe_bytes;
        std::string note;
        std::unique_ptr<Transport> transport;
        if (communicator_.size() > 1) {
            transport = make_mpi_transport(communicator_, {slots, static_cast<std::uint32_t>(seats), stripe_bytes},
                                           TransportChoice::automatic, note);
        }
        auto const stripes = made([&] { return HostMemory(slots * stripe_bytes); });
        auto const instead_of_outboxes = made([&] { return HostMemory(slots * stripe_bytes); });
        std::ranges::fill(stripes.bytes(), std::byte{1});
        std::ranges::fill(instead_of_outboxes.bytes(), std::byte{1});
        auto const own =
            static_cast<std::size_t>(std::ranges::find(neighbours_, communicator_.rank()) - neighbours_.begin());
        auto const outbox_of = [&](std::size_t wave, std::size_t seat) {
            auto const slot = static_cast<std::uint32_t>(wave % slots);
            auto const outbox =
                transport ? transport->outbox(slot, static_cast<std::uint32_t>(seat)) : std::span<std::byte>();
            return outbox.empty() ? instead_of_outboxes.bytes().subspan(slot * stripe_bytes, stripe_bytes) : outbox;
        };
        auto const agree = [&] {
            if (transport) { transport->synchronize(); }
            communicator_.wait(*communicator_.start_agreement(std::nullopt));
            if (transport) { transport->synchronize(); }
        };
        auto const seconds = fastest([&] {
            auto const store = made([&] { return HostMemory(count * stripe_bytes); });
            return timed([&] {
                for (std::size_t i = 0; i < count; ++i) {
                    auto const stripe = stripes.bytes().subspan(i % slots * stripe_bytes, stripe_bytes);
                    std::ranges::copy(stripe, outbox_of(i, own).begin());
                    agree();
                    std::ranges::copy(outbox_of(i, (own + 1) % neighbours_.size()),
                                      store.bytes().subspan(i * stripe_bytes).begin());
                    agree();
                }
            });
        });
        auto const steps = static_cast<double>(2 * count) * profile.step_seconds;
        auto const copying = std::max(seconds / 2, seconds - steps);
        profile.exchange_bytes_per_second = static_cast<double>(count * stripe_bytes * neighbours_.size()) / copying;
        if (!note.empty()) { notes_.push_back(fmt::format("shared memory is not used: {}", note)); }
    }

    /// Every rank sends to the one half the job away.
    void measure_network(MachineProfile& profile) {
        if (communicator_.layout().node_count == 1) {
            notes_.push_back(fmt::format("one node: network_bytes_per_second {:.3g} is not measured",
                                         profile.network_bytes_per_second));
            return;
        }
        std::string note;
        auto const transport = make_mpi_transport(communicator_, {}, TransportChoice::mpi, note);
        auto const out = made([] { return HostMemory(kStripeBytes); });
        auto const in = made([] { return HostMemory(kStripeBytes); });
        auto const ranks = communicator_.size();
        auto const to = (communicator_.rank() + ranks / 2) % ranks;
        auto const from = (communicator_.rank() + ranks - ranks / 2) % ranks;
        auto const seconds = timed([&] {
            std::vector<std::uint64_t> received;
            for (std::size_t i = 0; i < kMessages; ++i) {
                transport->receive({from}, in.bytes(), i);
                transport->send({to}, out.bytes());
                transport->start();
                for (bool is_first = true; !transport->is_idle(); is_first = false) {
                    transport->poll(received);
                    communicator_.pause(is_first);
                }
            }
        });
        profile.network_bytes_per_second = static_cast<double>(kMessages * kStripeBytes * neighbours_.size()) / seconds;
    }

    Catalog const& catalog_;
    Communicator& communicator_;
    std::vector<FileFacts> facts_;
    std::vector<std::int32_t> neighbours_;
    std::vector<std::string>& notes_;
};

}  // namespace

MachineProfile calibrate(std::string const& path, Context& context, std::vector<std::string>& notes) {
    auto const catalog = Catalog::open(path, context);
    return Calibration(catalog, context, notes).measure();
}

}  // namespace shardwise
