#include "comm/communicator.hpp"

#include <filesystem>
#include <new>

#include "comm/watch.hpp"
#include "util/wire.hpp"

namespace shardwise {
namespace {

class DoneAgreement final : public Agreement {
   public:
    explicit DoneAgreement(Outcome outcome) : outcome_(outcome) {}
    std::optional<Outcome> test() override { return outcome_; }

   private:
    Outcome outcome_;
};

class SelfCommunicator final : public Communicator {
   public:
    int rank() const noexcept override { return 0; }
    int size() const noexcept override { return 1; }
    NodeLayout const& layout() const noexcept override { return layout_; }

    std::vector<std::vector<std::byte>> all_gather(std::span<std::byte const> bytes) override {
        return {{bytes.begin(), bytes.end()}};
    }
    std::vector<std::byte> broadcast(std::vector<std::byte> bytes, int) override { return bytes; }

    std::vector<std::uint64_t> sum(std::vector<std::uint64_t> values) override { return values; }

    std::unique_ptr<Agreement> start_agreement(std::optional<Errc> failure) override {
        return std::make_unique<DoneAgreement>(failure ? Outcome{0, *failure} : Outcome{});
    }
    Outcome wait(Agreement& agreement) override { return *agreement.test(); }
    void raise_alarm() noexcept override { alarm_ = true; }
    bool is_alarm_raised() override { return alarm_; }
    void clear_alarm() override { alarm_ = false; }
    void set_deadline(std::int64_t) override {}
    [[noreturn]] void leave(Error const& why) override { throw why.on_rank(0); }
    void pause(bool) override {
        if (termination_requested()) { leave(asked_to_end()); }
    }

   private:
    NodeLayout layout_{{0}, {0}, 1};
    bool alarm_ = false;
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator() { return std::make_unique<SelfCommunicator>(); }

Error current_error() {
    try {
        throw;
    } catch (Error const& error) {
        return error;
    } catch (std::bad_alloc const&) {
        return {Errc::memory, "out of memory"};
    } catch (std::filesystem::filesystem_error const& error) {
        return {Errc::io, error.what()};
    } catch (std::exception const& error) { return {Errc::input, error.what()}; }
}

void end_if_asked() {
    if (termination_requested()) { throw asked_to_end(); }
}

bool is_asked_to_end(Error const& error) noexcept {
    return error.code() == Errc::peer && error.rank() < 0 && termination_requested();
}

void throw_failure(Communicator& communicator, Outcome outcome, std::optional<Error> const& own) {
    std::vector<std::byte> text;
    if (communicator.rank() == outcome.failed_rank && own) {
        WireWriter out;
        out.put(std::string(own->what()));
        text = out.take();
    }
    text = communicator.broadcast(std::move(text), outcome.failed_rank);
    WireReader in(text);
    throw Error(outcome.code, in.get_text()).on_rank(outcome.failed_rank);
}

}  // namespace shardwise
