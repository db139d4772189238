package results

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/scratch"
)

// Latest is the name of the symbolic link to the newest run.
const Latest = "latest"

// A Run is a folder of records: <root>/<id>/<suite>/<scenario>/record.json, with the artefacts of each scenario
// beside its record. Several processes may write scenarios into the same run at once.
type Run struct {
	path string
}

// Create makes the folder of a new run; MakeLatest points <root>/latest at it. The id becomes a file name: ASCII letters,
// digits, and "-", "_", ".", not at its beginning; 1 to 100 of them. A run that exists already is an fs.ErrExist:
// Open it to add to it.
func Create(root, id string) (*Run, error) {
	if err := CheckNew(root, id); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("create run %s: %w", id, err)
	}
	dir := filepath.Join(root, id)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create run %s: %w", id, err)
	}
	return &Run{path: dir}, nil
}

// MakeLatest points <root>/latest at the run. It is for a run that has come to something: one whose scenarios were all
// skipped says nothing, and would take the place of one that does.
func (r *Run) MakeLatest() error {
	if err := r.checkLatest(); err != nil {
		return err
	}
	if err := scratch.Symlink(r.ID(), r.latest()); err != nil {
		return fmt.Errorf("run %s: point %s at it: %w", r.ID(), r.latest(), err)
	}
	return nil
}

func (r *Run) latest() string { return filepath.Join(filepath.Dir(r.path), Latest) }

// checkLatest finds out whether the link can be made: it would take the place of a regular file.
func (r *Run) checkLatest() error {
	if info, err := os.Lstat(r.latest()); err == nil && info.Mode().Type() != fs.ModeSymlink {
		return fmt.Errorf("run %s: %s is not a symbolic link: move it away", r.ID(), r.latest())
	}
	return nil
}

// CheckNew finds out what [Create] would refuse, and changes nothing.
func CheckNew(root, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("create run: %w", err)
	}
	if info, err := os.Stat(root); err == nil && !info.IsDir() {
		return fmt.Errorf("create run %s: %s is not a folder", id, root)
	}
	dir := filepath.Join(root, id)
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("create run %s: %w", id, &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist})
	}
	return (&Run{path: dir}).checkLatest()
}

func checkID(id string) error {
	allowed := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.", c)
	}
	other := strings.ContainsFunc(id, func(c rune) bool { return !allowed(c) })
	switch {
	case id == "" || len(id) > 100 || other || strings.ContainsAny(id[:1], "-_."):
		return fmt.Errorf("id %q: allowed are 1 to 100 ASCII letters, digits, \"-\", \"_\" and \".\", beginning with a letter or digit", id)
	case id == Latest:
		return fmt.Errorf("id %q: is the name of the link to the newest run", id)
	}
	return nil
}

// Open opens the run in dir, which may be the link <root>/latest: it is followed once, now, so that the run stays
// the same when the link moves on.
func Open(dir string) (*Run, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open run: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open run %s: is not a folder", dir)
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("open run: %w", err)
	}
	return &Run{path: resolved}, nil
}

// ID returns the name of the run's folder.
func (r *Run) ID() string { return filepath.Base(r.path) }

// Path returns the run's folder.
func (r *Run) Path() string { return r.path }

// Dir returns the folder of a scenario. It need not exist: Record.Write creates it, and who puts artefacts there
// first creates it with os.MkdirAll.
func (r *Run) Dir(suite, scenario string) string {
	return filepath.Join(r.path, filepath.FromSlash(Folder(suite, scenario)))
}

// Folder is where in a run the folder of a scenario is, with slashes.
func Folder(suite, scenario string) string { return path.Join(Slug(suite), Slug(scenario)) }

// Records returns the run's records, sorted by suite and scenario. Records that cannot be read are joined in the
// error, those of another schema version as one error; the others are returned all the same. A folder without a record
// is no error: see Unfinished.
func (r *Run) Records() ([]*Record, error) {
	dirs, err := r.scenarios()
	if err != nil {
		return nil, err
	}
	var records []*Record
	var faults []error
	var otherSchema error
	others := 0
	for _, dir := range dirs {
		rec, err := Read(filepath.Join(r.path, dir, FileName))
		switch {
		case err == nil:
			records = append(records, rec)
		case errors.Is(err, ErrSchema):
			otherSchema = cmp.Or(otherSchema, err)
			others++
		case !errors.Is(err, fs.ErrNotExist):
			faults = append(faults, err)
		}
	}
	if others > 1 {
		otherSchema = fmt.Errorf("%w (and %d more records of this run)", otherSchema, others-1)
	}
	Sort(records)
	return records, errors.Join(append(faults, otherSchema)...)
}

// Sort sorts records by suite and scenario, as Records does.
func Sort(records []*Record) {
	slices.SortStableFunc(records, func(a, b *Record) int {
		return cmp.Or(strings.Compare(a.Suite, b.Suite), strings.Compare(a.Scenario, b.Scenario))
	})
}

// Unfinished returns the folders of scenarios that have no record: still running, killed, or planned and not begun.
func (r *Run) Unfinished() ([]string, error) {
	plan, err := r.plan()
	if err != nil {
		return nil, err
	}
	return r.unfinished(plan)
}

func (r *Run) unfinished(plan Plan) ([]string, error) {
	dirs, err := r.scenarios()
	if err != nil {
		return nil, err
	}
	for _, dir := range plan.Scenarios {
		dirs = append(dirs, filepath.FromSlash(dir))
	}
	slices.Sort(dirs)
	var list []string
	for _, dir := range slices.Compact(dirs) {
		full := filepath.Join(r.path, dir)
		switch _, err := os.Stat(filepath.Join(full, FileName)); {
		case errors.Is(err, fs.ErrNotExist):
			list = append(list, full)
		case err != nil:
			return nil, fmt.Errorf("list scenarios of run %s: %w", r.ID(), err)
		}
	}
	return list, nil
}

// scenarios returns the scenarios' folders relative to the run, sorted. What else lies in the run or in a suite
// (logs of the runner, reports) is not theirs.
func (r *Run) scenarios() ([]string, error) {
	suites, err := subdirs(r.path)
	if err != nil {
		return nil, fmt.Errorf("list scenarios of run %s: %w", r.ID(), err)
	}
	var dirs []string
	for _, suite := range suites {
		names, err := subdirs(filepath.Join(r.path, suite))
		if err != nil {
			return nil, fmt.Errorf("list scenarios of run %s: %w", r.ID(), err)
		}
		for _, name := range names {
			dirs = append(dirs, filepath.Join(suite, name))
		}
	}
	slices.Sort(dirs)
	return dirs, nil
}

func subdirs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
