#include "io/cufile_errors.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include <cufile.h>
#include <fmt/format.h>

namespace shardwise {
namespace {

struct Meaning {
    int code;
    char const* text;
};

/// Those that people meet, in words that help more than the header's.
constexpr std::array kMeanings = {
    Meaning{5001, "the kernel module nvidia-fs is not loaded, and nothing else lets the disk write to the GPU"},
    Meaning{5004, "the kernel module nvidia-fs is of a version that this libcufile does not know"},
    Meaning{5005, "the version of the kernel module nvidia-fs cannot be read"},
    Meaning{5007, "this platform has no GPUDirect Storage"},
    Meaning{5008, "the file's file system has no GPUDirect Storage"},
    Meaning{5009, "this GPU has no GPUDirect Storage"},
    Meaning{5010, "the kernel module nvidia-fs refused the request"},
    Meaning{5011, "the CUDA driver refused"},
    Meaning{5012, "the address is not one of the GPU"},
    Meaning{5013, "memory of this kind cannot be registered (managed memory, for one)"},
    Meaning{5014, "the range leaves the memory that was allocated"},
    Meaning{5015, "the memory belongs to another CUDA context"},
    Meaning{5016, "the range is longer than what can be pinned"},
    Meaning{5017, "the range leaves the registered memory"},
    Meaning{5018, "it is not a regular file"},
    Meaning{5019, "the file is open with flags that are not supported"},
    Meaning{5020, "the file is not open with O_DIRECT"},
    Meaning{5022, "an argument was refused"},
    Meaning{5023, "the memory is registered already"},
    Meaning{5024, "the memory is not registered"},
    Meaning{5025, "permission to the driver or the file is denied (is /dev/nvidia-fs* readable?)"},
    Meaning{5026, "the driver is open already, which is too late for settings"},
    Meaning{5027, "the file is not registered"},
    Meaning{5028, "the file descriptor is registered already"},
    Meaning{5030, "an error inside cuFile"},
    Meaning{5033, "the driver could not be set up (is libcuda.so.1 there, and nvidia-fs loaded?)"},
    Meaning{5034, "cuFile's configuration excludes the file"},
    Meaning{5035, "a batch could not be submitted"},
    Meaning{5036, "the GPU's memory could not be pinned (is its BAR1 large enough?)"},
    Meaning{5037, "the batch is full"},
    Meaning{5038, "operations on streams are not supported"},
    Meaning{5043, "cuFile is out of memory"},
    Meaning{5044, "the storage reported an I/O error"},
    Meaning{5049, "it would need the compatible mode, which is off"},
};

/// Neither the file nor the driver is to blame: other reads may work.
constexpr std::array kOfOneRange = {5012, 5014, 5016, 5017, 5022, 5024, 5043, 5044};

constexpr int kLeastForeignCode = 6000;  // of RDMA plug-ins

/// Documented is -1 with errno; what else is no code of cuFile's can only be an errno, too.
int errno_of(CufileOutcome outcome) {
    return outcome.value == -1 ? outcome.error_number : static_cast<int>(-outcome.value);
}

}  // namespace

int code_of(CufileOutcome outcome) noexcept {
    return outcome.value < -CUFILEOP_BASE_ERR ? static_cast<int>(-outcome.value) : 0;
}

std::string cufile_sentence(int code, int cuda_code) {
    auto const* const known =
        std::find_if(kMeanings.begin(), kMeanings.end(), [&](Meaning const& meaning) { return meaning.code == code; });
    bool const is_in_header = code > CUFILEOP_BASE_ERR && code < kLeastForeignCode;
    auto const* const text = known != kMeanings.end() ? known->text
                             : is_in_header           ? cufileop_status_error(static_cast<CUfileOpError>(code))
                                                      : "unknown";
    auto const cuda = cuda_code == 0 ? std::string() : fmt::format(", CUDA error {}", cuda_code);
    return fmt::format("{} (cuFile error {}{})", text, code, cuda);
}

std::string cufile_sentence(CufileOutcome outcome) {
    if (auto const code = code_of(outcome); code != 0) { return cufile_sentence(code); }
    if (outcome.value < 0) { return std::generic_category().message(errno_of(outcome)); }
    return outcome.value == 0 ? "nothing came" : fmt::format("{} B came", outcome.value);
}

CufileFailure failure_of(CufileOutcome outcome) noexcept {
    if (outcome.value >= 0) { return CufileFailure::none; }
    if (auto const code = code_of(outcome); code != 0) {
        bool const is_of_one_range = std::find(kOfOneRange.begin(), kOfOneRange.end(), code) != kOfOneRange.end();
        return is_of_one_range ? CufileFailure::range : CufileFailure::file;
    }
    switch (errno_of(outcome)) {
        case EINTR:
        case EAGAIN: return CufileFailure::interrupt;
        case EOPNOTSUPP:
        case ENODEV:
        case EPERM:
        case EACCES:
        case EBADF: return CufileFailure::file;
        default: return CufileFailure::range;
    }
}

}  // namespace shardwise
