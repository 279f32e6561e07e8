package journey

import (
	"context"
	"strings"
	"testing"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// asker is an executor whose requests are given.
type asker []runs.Request

func (asker) Step(context.Context, *scenario.Step, *vars.Scope) (runs.Step, error) {
	return runs.Step{State: runs.StepPassed}, nil
}

func (a asker) Close() runs.Trail { return runs.Trail{Requests: a} }

// TestRunsSayWhatIsWarmAndWhatIsExposed shows that a run passes with a warning, and that the warning shows no secret.
func TestRunsSayWhatIsWarmAndWhatIsExposed(t *testing.T) {
	one := runs.Request{Step: "me", URL: "http://shop/me/s3cr3t-value", Method: "GET", Status: 200, PoP: "s3cr3t-value", Exposed: "a shared cache gave the answer"}
	a := assignment(httpStep("me"))
	a.Scenario.Secrets = []string{"KEY"}
	a.Scenario.Steps[0].Headers = map[string]string{"Authorization": "Bearer ${secrets.KEY}"}
	got := runner(asker{one, one}, map[string]string{"KEY": "s3cr3t-value"}).Run(t.Context(), a)
	if got.State != runs.StatePassed || len(got.Requests) != 2 || got.Requests[0].Warm || !got.Requests[1].Warm {
		t.Fatalf("got %s, %+v, want a run that passes, with a cold request and a warm one", got.State, got.Requests)
	}
	warnings := strings.Join(got.Steps[0].Warnings, "\n")
	if strings.Count(warnings, "exposed: http://shop/me/<redacted>: a shared cache gave the answer") != 2 || got.Requests[0].PoP != "<redacted>" {
		t.Errorf("got warnings %q, point of presence %q, want both answers, without the secret", warnings, got.Requests[0].PoP)
	}
}
