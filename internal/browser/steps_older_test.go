package browser

import (
	"errors"
	"testing"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// What comes over the bus has passed the rules of another version's coordinator, if any: what is missing in it is not the target's fault,
// and no reason to fall over.
func TestStepsThatLackSomething(t *testing.T) {
	t.Parallel()
	j := open(t, scenario.Scenario{}, Options{})
	j.pass(navigate(site(t) + "/answer.txt"))
	field := alternatives([]string{"body"})
	for _, tt := range []struct {
		name string
		step scenario.Step
	}{
		{"type", scenario.Step{}},
		{"unknown type", scenario.Step{Type: "swipe"}},
		{"value", scenario.Step{Type: scenario.StepChange, Selectors: field}},
		{"selectors", scenario.Step{Type: scenario.StepClick}},
		{"selectors to wait for", scenario.Step{Type: scenario.StepWaitForElement}},
	} {
		if got, err := j.do(tt.step); !errors.As(err, new(*runs.Fault)) {
			t.Errorf("without %s: got %s, %v, want a fault", tt.name, got.State, err)
		}
	}
	step := scenario.Step{Type: scenario.StepClick, Selectors: field, Frame: []int{-1}, Timeout: 1e8}
	j.fails(step, runs.ClassTimeout, "frame [-1]")
}
