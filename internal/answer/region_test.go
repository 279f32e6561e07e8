package answer_test

import (
	"errors"
	"testing"

	"lastmile/internal/answer"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

func TestRegion(t *testing.T) {
	body := []byte(`{"served": {"by": " eu "}, "n": 7}`)
	for _, tt := range []struct {
		name    string
		routing *scenario.Routing
		answer  answer.Answer
		want    string
	}{
		{"none", nil, answer.Answer{Body: body}, ""},
		{"by header", &scenario.Routing{Header: "X"}, answer.Answer{Body: body}, ""},
		{"json", &scenario.Routing{JSON: "$.served.by"}, answer.Answer{Body: body}, "eu"},
		{"json number", &scenario.Routing{JSON: "$.n"}, answer.Answer{Body: body}, "7"},
		{"json absent", &scenario.Routing{JSON: "$.none"}, answer.Answer{Body: body}, ""},
		{"json of a page", &scenario.Routing{JSON: "$.served"}, answer.Answer{Body: []byte("<html>")}, ""},
		{"json that is none", &scenario.Routing{JSON: "$["}, answer.Answer{Body: body}, ""},
		{"regex", &scenario.Routing{Regex: `"by": "(.+?)"`}, answer.Answer{Body: body}, "eu"},
		{"broken", &scenario.Routing{Regex: `eu`}, answer.Answer{Body: body, Broken: &runs.Cause{}}, ""},
		{"opaque", &scenario.Routing{Regex: `eu`}, answer.Answer{Body: body, Opaque: errors.New("coding")}, ""},
	} {
		if got := answer.New().Region(tt.routing, &tt.answer); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
