// Profiles by name and from files; what is no profile is refused by member.
#include <gmock/gmock.h>

#include <shardwise/error.hpp>
#include <shardwise/profile.hpp>

#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string written(std::string const& text) {
    static ScratchFolder const folder;
    return folder.write("machine.json", text);
}

std::string error_of(std::string const& name) {
    try {
        load_profile(name);
    } catch (Error const& error) { return error.what(); }
    return "taken";
}

/// A valid profile with one piece of its text replaced.
std::string with(std::string const& piece, std::string const& other) {
    auto text = to_json(MachineProfile{});
    auto const at = text.find(piece);
    EXPECT_NE(at, std::string::npos) << piece;
    return text.replace(at, piece.size(), other);
}

TEST(Profile, ComesByName) {
    EXPECT_THAT(profile_names(), ElementsAre("nvme", "parallel-fs", "cached"));
    for (auto const& name : profile_names()) { EXPECT_EQ(load_profile(name).name, name); }
    EXPECT_EQ(load_profile("nvme"), MachineProfile{});
    EXPECT_GT(load_profile("parallel-fs").shared_bytes_per_second, 0);
    EXPECT_GT(load_profile("cached").read_bytes_per_second, load_profile("nvme").read_bytes_per_second);
}

TEST(Profile, ComesFromAFileAsItWasWritten) {
    MachineProfile profile;
    profile.name = "mine";
    profile.ranks_per_node = 3;
    profile.read_bytes_per_second = 1.5e9;
    profile.request_seconds = 0;
    profile.step_seconds = 1.25e-6;
    EXPECT_EQ(load_profile(written(to_json(profile))), profile);
}

TEST(Profile, WrongOnesAreRefusedWithTheMember) {
    EXPECT_THAT(error_of("nvmee"), AllOf(HasSubstr("'nvmee'"), HasSubstr("did you mean nvme?")));
    EXPECT_THAT(error_of("elsewhere"), HasSubstr("nvme, parallel-fs, cached"));
    EXPECT_THAT(error_of("./absent.json"), HasSubstr("absent.json"));
    EXPECT_THAT(error_of(written("[]")), HasSubstr("machine.json"));
    EXPECT_THAT(error_of(written(with("profile/1", "profile/2"))), HasSubstr("shardwise.profile/2"));
    EXPECT_THAT(error_of(written(with("\"step_seconds\"", "\"step_second\""))), HasSubstr("step_second"));
    EXPECT_THAT(error_of(written(with("2000000000.0", "0"))),
                AllOf(HasSubstr("read_bytes_per_second"), HasSubstr("above 0")));
    EXPECT_THAT(error_of(written(with("2000000000.0", "\"2 GB\""))), HasSubstr("\"2 GB\""));
    EXPECT_THAT(error_of(written(with("2e-05", "-1"))), AllOf(HasSubstr("request_seconds"), HasSubstr("-1")));
    EXPECT_THAT(error_of(written(with("\"ranks_per_node\": 8", "\"ranks_per_node\": 0"))), HasSubstr("ranks_per_node"));
}

TEST(Profile, NodesShareAFileSystemAndHaveDrivesOfTheirOwn) {
    MachineProfile profile;
    profile.read_bytes_per_second = 2e9;
    EXPECT_EQ(profile.read_bytes_per_second_of(100), 200e9);
    profile.shared_bytes_per_second = 50e9;
    EXPECT_EQ(profile.read_bytes_per_second_of(100), 50e9);
    EXPECT_EQ(profile.read_bytes_per_second_of(3), 6e9);
    EXPECT_EQ(profile.nodes_of(17), 3);
}

}  // namespace
}  // namespace shardwise::test
