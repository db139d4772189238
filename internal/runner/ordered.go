package runner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/results"
)

// containers tells, for each spec that is in an Ordered container, which. Ginkgo says only that it is in one: it is taken to
// be the outermost container all of whose specs are. That can be more than the Ordered one, where a container has no other
// specs: then two of them share a guest, which is as they would share a process.
func containers(specs []types.SpecReport) []string {
	mixed := map[string]bool{} // those that also have specs outside of Ordered containers
	for _, spec := range specs {
		for depth := range spec.ContainerHierarchyTexts {
			if !spec.IsInOrderedContainer {
				mixed[containerID(spec, depth)] = true
			}
		}
	}
	ids := make([]string, len(specs))
	for i, spec := range specs {
		for depth := range spec.ContainerHierarchyTexts {
			if id := containerID(spec, depth); spec.IsInOrderedContainer && !mixed[id] {
				ids[i] = id
				break
			}
		}
	}
	return ids
}

// containerID names the container at a depth: a line can make several, and a text can stand in several.
func containerID(spec types.SpecReport, depth int) string {
	var id strings.Builder
	for i := range depth + 1 {
		fmt.Fprintf(&id, "%q at %s, ", spec.ContainerHierarchyTexts[i], spec.ContainerHierarchyLocations[i])
	}
	return id.String()
}

// completeContainers selects the rest of each Ordered container of which a spec is selected: a spec can build on what those
// before it have left. Pending ones stay out, and so does what a focus in the source leaves out: Ginkgo would not run it.
func (s *Suite) completeContainers() {
	if s.Focused {
		return
	}
	wanted := map[string]bool{}
	for _, spec := range s.Specs {
		if spec.Selected && spec.Container != "" {
			wanted[spec.Container] = true
		}
	}
	for i := range s.Specs {
		if spec := &s.Specs[i]; wanted[spec.Container] && !spec.Selected && !spec.Pending {
			spec.Selected, spec.Completes = true, true
		}
	}
}

// completing is how many specs are selected for the sake of their containers.
func (s *Suite) completing() int {
	n := 0
	for _, spec := range s.Specs {
		if spec.Completes {
			n++
		}
	}
	return n
}

// together are the selected specs in groups that run in one process: an Ordered container's, or one spec.
func (s *Suite) together() [][]*Spec {
	var groups [][]*Spec
	at := map[string]int{} // of a container's group
	for i := range s.Specs {
		spec := &s.Specs[i]
		if !spec.Selected {
			continue
		}
		if known, ok := at[spec.Container]; ok && spec.Container != "" {
			groups[known] = append(groups[known], spec)
			continue
		}
		at[spec.Container] = len(groups)
		groups = append(groups, []*Spec{spec})
	}
	return groups
}

// share has groups of a suite run in the same guest, in their order, as long as they need the same files and all specs are at
// most so many. A group stays whole, also a larger one.
func share(groups [][]*Spec, most int) ([][]*Spec, error) {
	var shared [][]*Spec
	var before []string // files of the last one
	for _, group := range groups {
		files, err := filesOf(group)
		if err != nil {
			return nil, err
		}
		last := len(shared) - 1
		if last >= 0 && len(shared[last])+len(group) <= most && slices.Equal(files, before) {
			shared[last] = append(shared[last], group...)
		} else {
			shared = append(shared, slices.Clone(group))
		}
		before = files
	}
	return shared, nil
}

// markTogether says in each record what ran in the same process.
func markTogether(records []*results.Record) {
	if len(records) < 2 {
		return
	}
	var texts []string
	for _, record := range records {
		texts = append(texts, record.Scenario)
	}
	for _, record := range records {
		record.Together = slices.Clone(texts)
	}
}
