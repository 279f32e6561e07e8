package answer_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lastmile/internal/answer"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// TestManyCredentials: whoever sets as many cookies as a jar takes, and then says what looks like beginnings of them, in encodings of
// encodings, must not keep us busy for minutes with what a detail quotes.
func TestManyCredentials(t *testing.T) {
	got := &answer.Answer{Status: 200, Body: []byte(`{"a":"` + strings.Repeat(strings.Repeat("x", 600)+"%252525252525252541"+strings.Repeat("x", 600)+"…", 50) + `"}`)}
	for i := range 2000 {
		value := fmt.Sprint(strings.Repeat("x", 2000), i, strings.Repeat("x", 2000))
		got.Cookies = append(got.Cookies, &http.Cookie{Name: fmt.Sprint("c", i), Value: value})
	}
	want := scenario.Text("no")
	step := &scenario.Step{Assert: []scenario.Assertion{{JSON: "$.a", Equals: &want}}}
	began := time.Now()
	cause := answer.New().Assert(step, got, vars.NewScope(map[string]string{}, map[string]vars.Secret{"KEY": "hunter2-hunter2"}))
	if cause == nil || len(cause.Detail) > answer.MaxDetail {
		t.Errorf("got %+v, want a failure with a short detail", cause)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %s, want a second or so", took)
	}
}
