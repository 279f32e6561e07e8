package chromium

import (
	"cmp"
	"context"
	"os/exec"
	"regexp"
	"sync"
	"time"

	"lastmile/internal/scenario"
)

// versions remembers the numbers of the engines. It is safe for concurrent use.
type versions struct {
	mu    sync.Mutex
	known map[scenario.Engine]string
}

// versionLimit is what a program gets to tell its version.
const versionLimit = 10 * time.Second

var versionNumber = regexp.MustCompile(`\b\d+(\.\d+){3}\b`)

// number returns the version of an engine as a number, such as 156.0.8078.79; "" where it does not tell.
func (in *Installation) number(engine scenario.Engine) string {
	in.versions.mu.Lock()
	defer in.versions.mu.Unlock()
	if number, ok := in.versions.known[engine]; ok {
		return number
	}
	ctx, cancel := context.WithTimeout(context.Background(), versionLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, in.binaries[engine], "--version")
	cmd.Env, cmd.WaitDelay = environment(in.opts.TempDir), 100*time.Millisecond
	out, err := cmd.Output()
	if err != nil { // whatever is wrong with it will show when it is started
		return ""
	}
	number := versionNumber.FindString(string(out))
	if in.versions.known == nil {
		in.versions.known = map[scenario.Engine]string{}
	}
	in.versions.known[engine] = number
	return number
}

// userFlags say whose browser it is.
func (in *Installation) userFlags(spec Spec) []string {
	locale := cmp.Or(spec.Locale, "en-US")
	flags := []string{"--lang=" + locale, "--accept-lang=" + cmp.Or(spec.Languages, locale)}
	if spec.UserAgent != nil {
		if number := in.number(spec.Engine); number != "" {
			flags = append(flags, "--user-agent="+spec.UserAgent(number))
		}
	}
	return flags
}
