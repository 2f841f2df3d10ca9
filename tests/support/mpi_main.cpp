// main of tests that run under mpirun: rank 0 prints, the others only what fails. A rank whose test failed ends the
// whole job: the others would wait for it in vain.
#include <cstdio>

#include <gmock/gmock.h>

#include <shardwise/mpi.hpp>

namespace {

class RankListener final : public testing::EmptyTestEventListener {
   public:
    explicit RankListener(int rank) : rank_(rank) {}

    void OnTestPartResult(testing::TestPartResult const& result) override {
        if (!result.failed() || rank_ == 0) { return; }
        std::fprintf(stderr, "rank %d: %s:%d: %s\n", rank_, result.file_name() != nullptr ? result.file_name() : "?",
                     result.line_number(), result.message());
    }

    void OnTestEnd(testing::TestInfo const& info) override {
        if (!info.result()->Failed()) { return; }
        std::fprintf(stderr, "rank %d failed in %s.%s\n", rank_, info.test_suite_name(), info.name());
        std::fflush(nullptr);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }

   private:
    int rank_;
};

}  // namespace

int main(int argc, char** argv) {
    int provided = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    testing::InitGoogleMock(&argc, argv);
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    if (rank != 0) { delete listeners.Release(listeners.default_result_printer()); }
    listeners.Append(new RankListener(rank));
    int const status = RUN_ALL_TESTS();
    MPI_Finalize();
    return status;
}
