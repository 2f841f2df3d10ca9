#include "mapping/ties.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/parameters.hpp"
#include "mapping/pattern.hpp"

namespace shardwise {
namespace {

bool is_path(std::string_view text) {
    return text.find_first_of("\\^$*+?()[]{}|") == std::string_view::npos;
}

bool is_parameter(std::string_view text) {
    return is_path(text) && (text.ends_with("weight") || text.ends_with("bias"));
}

std::vector<std::string> names_that_fit(std::string const& text, NameSet const& names) {
    Pattern const pattern({"^" + text});
    std::vector<std::string> found;
    for (auto const& name : names) {
        if (pattern.find(name)) { found.push_back(name); }
    }
    return found;
}

/// Each tied name once; what comes later holds.
class Written {
   public:
    void add(std::string const& dependent, std::string const& source) {
        auto const known = at_.find(source);
        auto const& origin = known == at_.end() ? source : ties_[known->second].source;
        if (dependent == origin) { return; }
        auto const [entry, is_new] = at_.emplace(dependent, ties_.size());
        if (is_new) {
            ties_.push_back({dependent, origin});
        } else {
            ties_[entry->second].source = origin;
        }
    }

    std::vector<Tie> take() { return std::move(ties_); }

   private:
    std::vector<Tie> ties_;
    std::map<std::string, std::size_t> at_;
};

/// Where only stored names are known: each name below one of two modules is tied to its like below the other.
void add_below(Tie const& tie, std::set<std::string> const& stored, Written& written) {
    for (auto const& [module, other] : {std::pair(tie.source, tie.dependent), std::pair(tie.dependent, tie.source)}) {
        for (auto at = stored.lower_bound(module + "."); at != stored.end() && at->starts_with(module + "."); ++at) {
            auto const rest = at->substr(module.size());
            written.add(tie.dependent + rest, tie.source + rest);
        }
    }
}

std::vector<Tie> write_out_as_stored(std::span<Tie const> ties, std::set<std::string> const& stored) {
    Written written;
    for (auto const& tie : ties) {
        if (!is_path(tie.dependent) || !is_path(tie.source)) { continue; }
        written.add(tie.dependent, tie.source);
        if (!is_parameter(tie.dependent) || !is_parameter(tie.source)) { add_below(tie, stored, written); }
    }
    return written.take();
}

}  // namespace

std::vector<Tie> write_out(std::span<Tie const> ties, NameSet const& names) {
    Written written;
    for (auto const& tie : ties) {
        if (is_parameter(tie.dependent) && is_parameter(tie.source)) {
            written.add(tie.dependent, tie.source);
            continue;
        }
        auto const dependents = names_that_fit(tie.dependent, names);
        auto const sources = names_that_fit(tie.source, names);
        if (dependents.empty() || sources.empty()) { continue; }  // of another class of the family
        if (dependents.size() % sources.size() != 0) {
            throw Error(Errc::input, fmt::format("tied '{}' and '{}': {} names cannot be tied to {} evenly",
                                                 tie.dependent, tie.source, dependents.size(), sources.size()));
        }
        for (std::size_t i = 0; i < dependents.size(); ++i) { written.add(dependents[i], sources[i % sources.size()]); }
    }
    return written.take();
}

void tie_names(std::vector<Parameter>& parameters, std::span<Tie const> ties, std::set<std::string> const& stored,
               NameSet const& model_names) {
    auto const written = model_names.empty() ? write_out_as_stored(ties, stored) : write_out(ties, model_names);
    std::vector<std::vector<std::string>> groups;  ///< the source first
    std::map<std::string, std::size_t> group_of;
    for (auto const& [dependent, source] : written) {
        auto const [at, is_new] = group_of.emplace(source, groups.size());
        if (is_new) { groups.push_back({source}); }
        groups[at->second].push_back(dependent);
    }
    for (auto const& group : groups) {
        auto const is_stored = [&](std::string const& name) { return stored.contains(name); };
        auto const present = std::find_if(group.begin(), group.end(), is_stored);
        if (present == group.end()) { continue; }
        auto const holder = std::find_if(parameters.begin(), parameters.end(),
                                         [&](Parameter const& parameter) { return parameter.name == *present; });
        if (holder == parameters.end()) { continue; }
        std::remove_copy_if(group.begin(), group.end(), std::back_inserter(holder->aliases), is_stored);
    }
}

}  // namespace shardwise
