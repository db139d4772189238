package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tcplab/tcplab/internal/scratch"
)

// planName is the name of a run's plan inside its folder.
const planName = "plan.json"

// A Plan is what a run is to come to. It is written down before the first scenario begins, so that of a run that was killed
// it is known how much of it is not there.
type Plan struct {
	Scenarios []string `json:"scenarios"`         // folders in the run, as [Folder] has them
	Focused   []string `json:"focused,omitempty"` // see [Report]
}

// Plan writes down what the run is to come to.
func (r *Run) Plan(p Plan) error {
	text, err := json.Marshal(p)
	if err == nil {
		err = scratch.WriteFile(filepath.Join(r.path, planName), text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("run %s: write its plan: %w", r.ID(), err)
	}
	return nil
}

// plan is what was written down, or empty: who runs a suite without the tcplab command writes none.
func (r *Run) plan() (Plan, error) {
	var p Plan
	file, err := os.Open(filepath.Join(r.path, planName))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.NewDecoder(io.LimitReader(file, mostRecord)).Decode(&p)
		_ = file.Close() // read only: there is nothing that an error could tell
	}
	if err == nil && slices.ContainsFunc(p.Scenarios, func(dir string) bool { return !filepath.IsLocal(filepath.FromSlash(dir)) }) {
		err = errors.New("a folder in it is not one of the run")
	}
	if err != nil {
		return Plan{}, fmt.Errorf("run %s: read its plan: %s: %w", r.ID(), planName, err)
	}
	return p, nil
}
