#include "support/emulated_accelerator.hpp"

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "util/checked.hpp"
#include "util/units.hpp"

namespace shardwise::test {
namespace {

constexpr int kFreshByte = 0xA5;

class EmulatedStream final : public Stream {
   public:
    explicit EmulatedStream(std::shared_ptr<std::atomic<std::int64_t>> work_left)
        : work_left_(std::move(work_left)), worker_([this](std::stop_token const& stop) { go(stop); }) {}

    ~EmulatedStream() override {
        std::lock_guard const lock(mutex_);
        worker_.request_stop();
        changed_.notify_all();
    }

    void copy(std::span<std::byte const> from, std::byte* to) override {
        run([from, to] { std::memcpy(to, from.data(), from.size()); });
    }

    std::uint64_t mark() override {
        std::lock_guard const lock(mutex_);
        return given_;
    }

    bool has_passed(std::uint64_t mark) override {
        std::lock_guard const lock(mutex_);
        if (has_failed_) { throw Error(Errc::io, "GPU emulated: unspecified launch failure"); }
        return ended_ >= mark;
    }

    void* native() const noexcept override { return nullptr; }

    void run(std::function<void()> work) override {
        std::lock_guard const lock(mutex_);
        queue_.push_back(std::move(work));
        ++given_;
        changed_.notify_all();
    }

   private:
    void go(std::stop_token const& stop) {
        std::unique_lock lock(mutex_);
        for (;;) {
            changed_.wait(lock, [&] { return stop.stop_requested() || !queue_.empty(); });
            if (queue_.empty()) { return; }
            auto const work = std::move(queue_.front());
            queue_.pop_front();
            lock.unlock();
            bool const works = work_left_ == nullptr || (*work_left_)-- > 0;
            if (works) { work(); }
            lock.lock();
            has_failed_ = has_failed_ || !works;
            ++ended_;
        }
    }

    std::shared_ptr<std::atomic<std::int64_t>> work_left_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> queue_;
    std::uint64_t given_ = 0;
    std::uint64_t ended_ = 0;
    bool has_failed_ = false;
    std::jthread worker_;  // last: it uses everything above
};

class EmulatedAccelerator final : public Accelerator {
   public:
    explicit EmulatedAccelerator(EmulatedGpu gpu) : gpu_(std::move(gpu)) {}

    std::string describe() const override { return "GPU emulated"; }
    std::string uuid() const override { return gpu_.uuid; }
    std::uint64_t free_bytes() const override { return gpu_.memory_bytes - account_->used(); }

    Memory allocate(std::uint64_t size_bytes, std::uint64_t) override {
        if (size_bytes == 0) { return {}; }
        if (size_bytes > free_bytes()) {
            throw Error(Errc::memory,
                        fmt::format("{}: allocate {}: out of memory", describe(), format_bytes(size_bytes)));
        }
        auto memory = make(size_bytes);
        account_->add(size_bytes);
        auto const owner = std::shared_ptr<void const>(
            nullptr,
            [account = account_, size_bytes, inner = memory.owner()](void const*) { account->remove(size_bytes); });
        return {memory.bytes(), owner};
    }

    /// Opened by this process only: the handle is an address.
    MemoryHandle share(Memory const& memory) override {
        MemoryHandle handle = {};
        auto const address = memory.bytes().data();
        std::memcpy(handle.data(), &address, sizeof(address));
        return handle;
    }
    Memory open(MemoryHandle const& handle, std::uint64_t size_bytes) override {
        std::byte* address = nullptr;
        std::memcpy(&address, handle.data(), sizeof(address));
        return {{address, size_bytes}, nullptr};
    }

    Memory allocate_pinned(std::uint64_t size_bytes) override { return size_bytes == 0 ? Memory{} : make(size_bytes); }
    std::unique_ptr<Stream> make_stream() override { return std::make_unique<EmulatedStream>(gpu_.work_left); }
    void attach_thread() override {}
    std::uint64_t peak_bytes() const noexcept override { return account_->peak(); }

   private:
    static Memory make(std::uint64_t size_bytes) {
        auto const padded = align_up(size_bytes, kDevicePage);
        std::shared_ptr<void> owner(std::aligned_alloc(kDevicePage, padded), &std::free);
        std::memset(owner.get(), kFreshByte, padded);
        return {{static_cast<std::byte*>(owner.get()), size_bytes}, owner};
    }

    EmulatedGpu gpu_;
    std::shared_ptr<MemoryAccount> account_ = std::make_shared<MemoryAccount>();
};

}  // namespace

std::unique_ptr<Accelerator> make_emulated_accelerator(EmulatedGpu gpu) {
    return std::make_unique<EmulatedAccelerator>(std::move(gpu));
}

}  // namespace shardwise::test
