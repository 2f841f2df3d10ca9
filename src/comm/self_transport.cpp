#include "comm/transport.hpp"

#include "device/host_memory.hpp"

namespace shardwise {
namespace {

class SelfTransport final : public Transport {
   public:
    explicit SelfTransport(SlotSpec slots) : spec_(slots), memory_(slots.count * slots.bytes) {}

    std::string name() const override { return "self"; }
    std::span<std::byte> slot(std::uint32_t index) noexcept override { return memory_.bytes().subspan(index * spec_.bytes, spec_.bytes); }
    bool shares_memory_with(int) const noexcept override { return true; }
    std::span<std::byte const> slot_of(int, std::uint32_t index) const noexcept override {
        return memory_.bytes().subspan(index * spec_.bytes, spec_.bytes);
    }
    void synchronize() override {}
    void send(int, std::span<std::byte const>) override {}
    void receive(int, std::span<std::byte>, std::uint64_t) override {}
    void poll(std::vector<std::uint64_t>&) override {}
    bool is_idle() const noexcept override { return true; }
    std::uint64_t slot_memory_bytes() const noexcept override { return memory_.bytes().size(); }

   private:
    SlotSpec spec_;
    HostMemory memory_;
};

}  // namespace

std::unique_ptr<Transport> make_self_transport(SlotSpec slots) { return std::make_unique<SelfTransport>(slots); }

}  // namespace shardwise
