package runner

import (
	"context"
	"errors"
	"os"
)

// MadeSuite is a suite whose program is this very one, in its guests: nothing is compiled, and nothing is asked for its specs. All are
// run, whatever a filter says. The program finds out by Spec.Env that it is a suite, and which of its specs are to run.
func MadeSuite(name string, specs []Spec) *Suite {
	suite := &Suite{Name: name, Path: name, Ginkgo: true, Specs: specs}
	for i := range suite.Specs {
		suite.Specs[i].Selected = true
	}
	return suite
}

// make takes a suite that is made. On another architecture the guests' program is built for them, as their /init is, which is the same.
func (s *Session) make(ctx context.Context, made Suite) (err error) {
	if s.clock != Virtual {
		return errors.New("what is measured runs in guests: it needs the virtual clock")
	}
	if s.apart {
		if s.init, err = (compiler{dir: s.dir}).initProgram(ctx); err != nil {
			return err
		}
		made.Binary = s.init
	} else if made.Binary, err = os.Executable(); err != nil {
		return err
	}
	program, err := os.ReadFile(made.Binary)
	if err != nil {
		return err
	}
	made.Code = hashOf(program)
	s.made, s.suites = &made, []*Suite{&made}
	return nil
}
