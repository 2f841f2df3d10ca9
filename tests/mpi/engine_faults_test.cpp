// The law of ending together: whatever goes wrong on one rank, all ranks throw the same error, which says what happened
// where, and the same ranks can load again.
#include <filesystem>
#include <fstream>
#include <functional>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "support/faulty_reader.hpp"
#include "support/loading.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// An error as ranks compare it.
struct Ending {
    Errc code = Errc::usage;
    int rank = -1;
    std::string text;
};

/// Runs a load that must fail, and checks that all ranks end alike.
Ending ending_of(Context& context, std::function<void()> const& load) {
    Ending ending;
    try {
        load();
        ending.text = "no error";
    } catch (Error const& error) { ending = {error.code(), error.rank(), error.what()}; }
    auto const own = fmt::format("{}|{}|{}", static_cast<int>(ending.code), ending.rank, ending.text);
    for (auto const& other : gather_texts(context.communicator(), own)) {
        EXPECT_EQ(other, own) << "ranks ended differently";
    }
    EXPECT_NE(ending.text, "no error");
    return ending;
}

void expect_a_fresh_load_works(TestModel const& model, Way const& way, Context& context) {
    auto const plan = plan_for(model, way, context);
    auto load = start(plan, way, context);
    EXPECT_EQ(difference(load.wait(), plan, model), "") << "the load after the failed one";
}

std::vector<Storage> queued_storages() {
    std::vector<Storage> result;
    for (auto const& storage : storages()) {
        if (!storage.is_cached && storage.choice != ReaderChoice::mmap && !storage.allows_direct) {
            result.push_back(storage);
        }
    }
    return result;
}

/// Every reader that queues, every network, both ways to read.
std::vector<Way> faulty_ways(int ranks) {
    std::vector<Way> result;
    for (auto const& storage : queued_storages()) {
        for (auto const& network : networks(ranks)) {
            for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
                result.push_back({storage, network, strategy});
            }
        }
    }
    return result;
}

ReaderHook fail_at(Plan const& plan, std::uint64_t nth) {
    return [&plan, nth](ReaderSet& readers) {
        for (auto const kind : {ReaderKind::uring, ReaderKind::pread}) {
            if (auto reader = readers.take(kind)) {
                readers.replace(kind, std::make_unique<FaultyReader>(std::move(reader), plan.files, nth));
            }
        }
    };
}

int world_size() {
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
}

TEST(Faults, AReadThatFailsOnOneRankEndsAllWithItsError) {
    std::size_t case_number = 0;
    for (auto const& way : faulty_ways(world_size())) {
        auto context = make_job(way.network);
        auto const& model = model_on_disk(context.size());
        auto const plan = plan_for(model, way, context);
        for (auto const part : {0, 1, 3}) {  // the first read, one in the middle, the last
            auto const failing = static_cast<int>(case_number++) % context.size();
            SCOPED_TRACE(fmt::format("{}, rank {} fails {} third(s) on", describe(way), failing, part));
            auto const nth = std::max<std::uint64_t>(1, plan.totals.requests) * static_cast<std::uint64_t>(part) / 3;
            auto const hook =
                context.rank() == failing ? fail_at(plan, std::min(nth, plan.totals.requests - 1)) : ReaderHook{};
            auto const ending = ending_of(context, [&] { start(plan, way, context, hook).wait(); });
            EXPECT_EQ(ending.code, Errc::io);
            EXPECT_EQ(ending.rank, failing);
            EXPECT_THAT(ending.text, AllOf(HasSubstr("part-"), HasSubstr(" at "), HasSubstr("Input/output error")));
            ASSERT_FALSE(::testing::Test::HasFailure());
        }
        expect_a_fresh_load_works(model, way, context);
    }
}

TEST(Faults, ReadsThatFailOnSeveralRanksEndAllWithOneOfTheirErrors) {
    for (auto const& network : networks(world_size())) {
        Way way = {{"pread", ReaderChoice::pread, false, false}, network, StrategyChoice::cooperative};
        auto context = make_job(way.network);
        auto const& model = model_on_disk(context.size());
        auto const plan = plan_for(model, way, context);
        auto const ending = ending_of(context, [&] { start(plan, way, context, fail_at(plan, 0)).wait(); });
        EXPECT_EQ(ending.code, Errc::io);
        EXPECT_GE(ending.rank, 0);
        expect_a_fresh_load_works(model, way, context);
    }
}

TEST(Faults, AFailureComesOutOfNextToo) {
    Way const way = {{"pread", ReaderChoice::pread, false, false},
                     {"automatic", 0, TransportChoice::automatic},
                     StrategyChoice::cooperative};
    auto context = make_job(way.network);
    auto const& model = model_on_disk(context.size());
    auto const plan = plan_for(model, way, context);
    auto const hook = context.rank() == 0 ? fail_at(plan, plan.totals.requests / 2) : ReaderHook{};
    ending_of(context, [&] {
        auto load = start(plan, way, context, hook);
        while (load.next()) {}
        load.wait();
    });
    expect_a_fresh_load_works(model, way, context);
}

/// What one rank finds in place of a file.
struct Damage {
    char const* name;
    std::function<void(FileRecord&)> apply;
    Errc code;
    char const* text;
};

/// A copy cut to half its length.
std::string half_of(std::string const& path) {
    auto half = path + ".half";
    std::filesystem::copy_file(path, half, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(half, std::filesystem::file_size(path) / 2);
    return half;
}

std::vector<Damage> damages() {
    return {
        {"missing", [](FileRecord& file) { file.path += ".gone"; }, Errc::io, "No such file"},
        {"shorter than its header says", [](FileRecord& file) { file.path = half_of(file.path); }, Errc::input,
         "its header was read when it had"},
        {"shorter than when it was opened",
         [](FileRecord& file) {
             file.path = half_of(file.path);
             file.size_bytes = std::filesystem::file_size(file.path);
         },
         Errc::input, "the file ends there"},
        // The kernel itself refuses reads of this file with EIO at the offsets of tensors: no memory is mapped there.
        {"unreadable",
         [](FileRecord& file) {
             file = {"/proc/self/mem", 0, 0};
         },
         Errc::io, "Input/output error"},
    };
}

/// Ranks that read from the second half of a file: not every one does when stripes are shared out. Collective.
std::vector<int> readers_of_the_end(Plan const& plan, std::uint32_t file, Context& context) {
    auto const half = plan.files[file].size_bytes / 2;
    auto const is_beyond = [&](FileRange const& range) { return range.file == file && range.end() > half; };
    bool reads = false;
    for (auto const& read : plan.direct) { reads = reads || is_beyond(read.range); }
    for (auto const& wave : plan.waves) {
        for (auto const& read : wave.reads) { reads = reads || is_beyond(read.range); }
    }
    std::vector<int> ranks;
    auto const answers = gather_texts(context.communicator(), reads ? "yes" : "no");
    for (std::size_t rank = 0; rank < answers.size(); ++rank) {
        if (answers[rank] == "yes") { ranks.push_back(static_cast<int>(rank)); }
    }
    return ranks;
}

TEST(Faults, ADamagedFileOnOneRankEndsAllWithItsName) {
    std::vector<Storage> readers;
    for (auto const& storage : storages()) {
        if (!storage.allows_direct && storage.choice != ReaderChoice::mmap) { readers.push_back(storage); }
    }
    std::size_t case_number = 0;
    for (auto const& storage : readers) {
        for (auto const& damage : damages()) {
            for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
                auto const network = networks(world_size())[case_number % networks(world_size()).size()];
                Way const way = {storage, network, strategy};
                auto context = make_job(way.network);
                auto const& model = model_on_disk(context.size());
                auto plan = plan_for(model, way, context);
                auto const candidates = readers_of_the_end(plan, 1, context);
                auto const failing = candidates.at(case_number++ % candidates.size());
                SCOPED_TRACE(fmt::format("{}, {} on rank {}", describe(way), damage.name, failing));
                if (context.rank() == failing) { damage.apply(plan.files[1]); }
                auto const path = plan.files[1].path;
                auto const ending = ending_of(context, [&] { start(plan, way, context).wait(); });
                EXPECT_EQ(ending.code, damage.code);
                EXPECT_EQ(ending.rank, failing);
                EXPECT_THAT(ending.text, HasSubstr(damage.text));
                if (context.rank() == failing) { EXPECT_THAT(ending.text, HasSubstr(path)); }
                ASSERT_FALSE(::testing::Test::HasFailure());
                expect_a_fresh_load_works(model, way, context);
            }
        }
    }
}

TEST(Faults, AMappedFileThatIsMissingOrShortOnOneRankEndsAllWithItsName) {
    for (auto const& damage : {damages()[0], damages()[1]}) {
        Way const way = {
            {"mmap", ReaderChoice::mmap, false, false}, networks(world_size()).back(), StrategyChoice::cooperative};
        auto context = make_job(way.network);
        auto const& model = model_on_disk(context.size());
        auto plan = plan_for(model, way, context);
        if (context.rank() == readers_of_the_end(plan, 1, context).back()) { damage.apply(plan.files[1]); }
        auto const ending = ending_of(context, [&] { start(plan, way, context).wait(); });
        EXPECT_EQ(ending.code, damage.code);
        EXPECT_THAT(ending.text, AllOf(HasSubstr("part-1"), HasSubstr(damage.text)));
        expect_a_fresh_load_works(model, way, context);
    }
}

TEST(Faults, TensorsThatOneNodeCannotHoldAreRefusedOnAll) {
    for (auto const& network : networks(world_size())) {
        Way const way = {{"pread", ReaderChoice::pread, false, false}, network};
        auto context = make_job(way.network);
        auto const& model = model_on_disk(context.size());
        auto plan = plan_for(model, way, context);
        if (context.rank() == context.size() - 1) { plan.store_bytes = 1ULL << 50U; }
        auto const ending = ending_of(context, [&] { start(plan, way, context).wait(); });
        EXPECT_EQ(ending.code, Errc::memory);
        EXPECT_THAT(ending.text, AllOf(HasSubstr("need 1.00 PiB"), HasSubstr("available")));
        expect_a_fresh_load_works(model, way, context);
    }
}

TEST(Faults, DifferentPlansAreRefusedBeforeAnythingIsRead) {
    Way const way = {{"pread", ReaderChoice::pread, false, false}, {"automatic", 0, TransportChoice::automatic}};
    auto context = make_job(way.network);
    if (context.size() == 1) { return; }  // one plan cannot differ
    auto const& model = model_on_disk(context.size());
    auto plan = plan_for(model, way, context);
    auto const right = plan.digest;
    if (context.rank() == context.size() - 1) { plan.digest = std::string(32, '0'); }
    auto const ending = ending_of(context, [&] { start(plan, way, context).wait(); });
    EXPECT_EQ(ending.code, Errc::peer);
    EXPECT_THAT(ending.text, AllOf(HasSubstr(right), HasSubstr(std::string(32, '0')),
                                   HasSubstr(fmt::format("0 and {}", context.size() - 1))));
    expect_a_fresh_load_works(model, way, context);
}

TEST(Faults, APlanOfAnotherRankOrWorldIsRefusedOnAll) {
    Way const way = {{"pread", ReaderChoice::pread, false, false}, {"automatic", 0, TransportChoice::automatic}};
    auto context = make_job(way.network);
    auto const& model = model_on_disk(context.size());
    auto plan = plan_for(model, way, context);
    if (context.rank() == 0) { plan.mesh.dp += 1; }
    auto const ending = ending_of(context, [&] { start(plan, way, context).wait(); });
    EXPECT_EQ(ending.code, Errc::usage);
    EXPECT_EQ(ending.rank, 0);
    EXPECT_THAT(ending.text, HasSubstr(fmt::format("rank 0 of {}", context.size())));
    expect_a_fresh_load_works(model, way, context);
}

TEST(Faults, CancellingOnOneRankEndsAll) {
    for (auto const& network : networks(world_size())) {
        for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
            Way const way = {{"pread", ReaderChoice::pread, false, false}, network, strategy};
            auto context = make_job(way.network);
            auto const& model = model_on_disk(context.size());
            auto const plan = plan_for(model, way, context);
            auto const canceller = context.size() - 1;
            auto const ending = ending_of(context, [&] {
                auto load = start(plan, way, context);
                if (context.rank() == canceller) {
                    load.next();
                    load.cancel();
                }
                load.wait();
            });
            EXPECT_EQ(ending.code, Errc::peer);
            EXPECT_EQ(ending.rank, canceller);
            EXPECT_THAT(ending.text, HasSubstr("cancelled"));
            expect_a_fresh_load_works(model, way, context);
        }
    }
}

TEST(Faults, DroppingALoadOnOneRankEndsItOnAll) {
    for (auto const& network : networks(world_size())) {
        Way const way = {{"pread", ReaderChoice::pread, false, false}, network, StrategyChoice::automatic};
        auto context = make_job(way.network);
        if (context.size() == 1) { return; }  // nobody waits
        auto const& model = model_on_disk(context.size());
        auto const plan = plan_for(model, way, context);
        auto const dropper = context.size() - 1;
        if (context.rank() == dropper) {
            auto load = start(plan, way, context);
            load.next();
        } else {
            try {
                start(plan, way, context).wait();
                ADD_FAILURE() << "nobody told this rank";
            } catch (Error const& error) {
                EXPECT_EQ(error.code(), Errc::peer);
                EXPECT_EQ(error.rank(), dropper);
            }
        }
        expect_a_fresh_load_works(model, way, context);
    }
}

TEST(Faults, DroppingALoadOnAllRanksAtOnceOrAfterItsLastTensorIsQuiet) {
    Way const way = {{"pread", ReaderChoice::pread, false, false}, {"automatic", 0, TransportChoice::automatic}};
    auto context = make_job(way.network);
    auto const& model = model_on_disk(context.size());
    auto const plan = plan_for(model, way, context);
    { auto const at_once = start(plan, way, context); }
    auto load = start(plan, way, context);
    while (load.next()) {}
    expect_a_fresh_load_works(model, way, context);
}

TEST(Faults, ALoadThatIsDroppedHalfWayLeavesTheMemoryAlone) {
    for (auto const& storage : storages()) {
        for (auto const strategy : {StrategyChoice::direct, StrategyChoice::cooperative}) {
            for (std::size_t tensors = 0; tensors < 4; ++tensors) {
                Way way = {storage, {"alone", 0, TransportChoice::automatic}, strategy};
                way.lanes = 4;
                auto context = Context::self();
                auto const& model = model_on_disk(1);
                auto const plan = plan_for(model, way, context);
                {
                    auto load = start(plan, way, context);
                    for (std::size_t i = 0; i < tensors; ++i) { load.next(); }
                }
                expect_a_fresh_load_works(model, way, context);
            }
        }
    }
}

}  // namespace
}  // namespace shardwise::test
