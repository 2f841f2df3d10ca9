#include "io/pread_range.hpp"
#include "io/read_pool.hpp"
#include "io/reader.hpp"

namespace shardwise {
namespace {

class PreadReader final : public Reader {
   public:
    PreadReader(std::span<FileRecord const> files, std::vector<bool> wants_direct, std::size_t threads)
        : files_(open_when_read(files, std::move(wants_direct))), pool_(threads) {}

    bool has_room() const noexcept override { return pool_.has_room(); }

    void submit(ReadRequest const& request) override {
        std::vector<Landing> landings(request.landings.begin(), request.landings.end());
        pool_.submit(request.id,
                     [this, range = request.range, into = request.into, landings = std::move(landings)](std::size_t) {
                         auto const& access = files_[range.file];
                         return pread_all(access, Transfer(range, into, access.allows_direct(), landings), counters_);
                     });
    }

    void poll(std::vector<ReadResult>& results, Wait wait) override { pool_.poll(results, wait); }

    ReadCounters counters() const noexcept override { return counters_.values(); }

   private:
    OpenedFiles<FileAccess> files_;
    SharedCounters counters_;
    ReadPool pool_;  // last: its threads use everything above
};

}  // namespace

std::unique_ptr<Reader> make_pread_reader(std::span<FileRecord const> files, std::vector<bool> wants_direct,
                                          std::size_t threads) {
    return std::make_unique<PreadReader>(files, std::move(wants_direct), threads);
}

}  // namespace shardwise
