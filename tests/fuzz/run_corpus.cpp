// Drives a fuzz target without libFuzzer: TARGET FOLDER... runs every file of the folders, then mutations of them, the
// same ones in every run. What makes the target crash is left in crash-TARGET.bin in the working directory.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

namespace fs = std::filesystem;

constexpr int kMutations = 100000;
constexpr std::size_t kMostBytes = 8192;

std::string g_input;       ///< the one being run, for the signal handler
std::string g_crash_file;

/// Only calls that a signal handler may make.
void keep_input(int signal) {
    int const fd = ::open(g_crash_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ssize_t const done = ::write(fd, g_input.data(), g_input.size());
    ::close(fd);
    std::signal(signal, SIG_DFL);
    ::raise(done >= 0 ? signal : SIGKILL);
}

class Mutator {
   public:
    explicit Mutator(std::vector<std::string> const& corpus) : corpus_(corpus) {}

    std::string next() {
        std::string text = any();
        for (auto steps = pick(1, 4); steps > 0; --steps) { mutate(text); }
        if (text.size() > kMostBytes) { text.resize(kMostBytes); }
        return text;
    }

   private:
    /// Words at which parsers of these formats go different ways.
    // clang-format off
    static constexpr std::array<char const*, 24> kWords = {
        "{", "}", "[", "]", "\"", ",", ":", "0", "-1", "4294967296", "4611686018427387904", "9223372036854775808",
        "18446744073709551615", "1e999", "null", "true", "\\u0000", "\\ud800", "\xFF", "(", ")", "*.",
        "\\Q", "(*ACCEPT)"};
    // clang-format on

    std::size_t pick(std::size_t low, std::size_t high) {
        return std::uniform_int_distribution<std::size_t>(low, high)(random_);
    }
    std::string const& any() { return corpus_[pick(0, corpus_.size() - 1)]; }

    void mutate(std::string& text) {
        auto const at = pick(0, text.size());
        auto const length = std::min(pick(0, 32), text.size() - at);
        switch (pick(0, 6)) {
            case 0: text.resize(at); break;
            case 1: text.erase(at, length); break;
            case 2: text.insert(pick(0, text.size()), text.substr(at, length)); break;
            case 3: text.insert(at, kWords[pick(0, kWords.size() - 1)]); break;
            case 4: text.replace(at, length, kWords[pick(0, kWords.size() - 1)]); break;
            case 5: splice(text, at); break;
            default:
                if (at < text.size()) { text[at] = static_cast<char>(text[at] ^ (1 << pick(0, 7))); }
        }
    }

    void splice(std::string& text, std::size_t at) {
        auto const& other = any();
        text = text.substr(0, at) + other.substr(pick(0, other.size()));
    }

    std::vector<std::string> const& corpus_;
    std::mt19937_64 random_{20261122};
};

std::vector<std::string> read_corpus(int count, char** folders) {
    std::vector<fs::path> paths;
    for (int i = 1; i < count; ++i) {
        for (auto const& entry : fs::directory_iterator(folders[i])) {
            if (entry.is_regular_file()) { paths.push_back(entry.path()); }
        }
    }
    std::sort(paths.begin(), paths.end());
    std::vector<std::string> corpus;
    for (auto const& path : paths) {
        std::ifstream file(path, std::ios::binary);
        corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    return corpus;
}

void run(std::string input) {
    g_input = std::move(input);
    LLVMFuzzerTestOneInput(reinterpret_cast<std::uint8_t const*>(g_input.data()), g_input.size());
}

}  // namespace

int main(int count, char** arguments) {
    g_crash_file = "crash-" + fs::path(arguments[0]).filename().string() + ".bin";
    for (int const signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) { std::signal(signal, keep_input); }
    auto const corpus = read_corpus(count, arguments);
    if (corpus.empty()) {
        std::fprintf(stderr, "usage: %s FOLDER...; there is no input in them\n", arguments[0]);
        return 2;
    }
    for (auto const& input : corpus) { run(input); }
    Mutator mutator(corpus);
    for (int i = 0; i < kMutations; ++i) { run(mutator.next()); }
    std::printf("%zu inputs and %d mutations\n", corpus.size(), kMutations);
    return 0;
}
