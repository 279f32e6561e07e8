package chromium

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"lastmile/internal/scenario"
)

// ErrNotFound is wrapped by the errors of New and Start when there is no Chromium to run.
var ErrNotFound = errors.New("chromium not found")

// InstallCommand installs both engines on Debian.
const InstallCommand = "apt-get install -y chromium chromium-headless-shell"

// Options configure an Installation. The zero value finds Chromium by itself and uses its sandbox.
type Options struct {
	ShellPath string        // chromium-headless-shell; empty = looked up
	FullPath  string        // the full browser; empty = looked up
	NoSandbox bool          // Chromium refuses to run as root without it
	TempDir   string        // where run directories are made; empty = os.TempDir; for the full engine at most 40 bytes long
	Launches  int           // how many browsers may start at the same time; zero = 1, as a launch is all CPU
	PingEvery time.Duration // how often a browser is asked for a sign of life; zero = 2 s
	PingLimit time.Duration // a browser that does not answer for so long is killed; zero = 5 s
	Limits    Limits        // of what pages may do
}

// Installation is the Chromium of this machine. It is safe for concurrent use.
type Installation struct {
	log      *slog.Logger
	opts     Options
	binaries map[scenario.Engine]string
	shm      bool // /dev/shm is large enough for Chromium

	versions versions

	sweeping sync.Mutex
	swept    time.Time
}

// New looks for Chromium. It fails when there is neither engine, or when a path in opts does not lead to a program.
//
// What died with earlier probes of this user in the same TempDir is removed: directories, and processes that still work in them. The
// calling process becomes the parent of the orphans of its descendants (a subreaper), so that no dead Chromium helper is left.
func New(log *slog.Logger, opts Options) (*Installation, error) {
	if opts.PingEvery == 0 {
		opts.PingEvery = 2 * time.Second
	}
	if opts.PingLimit == 0 {
		opts.PingLimit = 5 * time.Second
	}
	if opts.TempDir == "" {
		opts.TempDir = os.TempDir()
	}
	opts.Limits = opts.Limits.filled()
	in := &Installation{log: log, opts: opts, binaries: map[scenario.Engine]string{}, shm: roomy("/dev/shm")}
	var missing []error
	for engine, explicit := range map[scenario.Engine]string{scenario.EngineShell: opts.ShellPath, scenario.EngineFull: opts.FullPath} {
		path, err := find(engine, explicit)
		switch {
		case err == nil:
			in.binaries[engine] = path
		case explicit != "":
			return nil, err
		default:
			missing = append(missing, err)
		}
	}
	if len(in.binaries) == 0 {
		return nil, errors.Join(missing...)
	}
	if err := adoptOrphans(); err != nil {
		return nil, err
	}
	in.sweep()
	return in, nil
}

// Has reports whether there is a program for the engine.
func (in *Installation) Has(engine scenario.Engine) bool { return in.binaries[engine] != "" }

// sweep removes what dead probes left behind, if that was not done lately.
func (in *Installation) sweep() {
	in.sweeping.Lock()
	defer in.sweeping.Unlock()
	if !in.swept.IsZero() && time.Since(in.swept) < sweepEvery {
		return
	}
	sweep(in.log, in.opts.TempDir)
	in.swept = time.Now()
}

// places lists where an engine is looked for: where Debian, Ubuntu and Google put the program itself first, since what stands in
// PATH may be a wrapper that adds flags of its own.
func places(engine scenario.Engine) []string {
	if engine == scenario.EngineFull {
		return []string{
			"/usr/lib/chromium/chromium", "/usr/lib/chromium-browser/chromium-browser", "/opt/google/chrome/chrome",
			"chromium", "chromium-browser", "google-chrome-stable", "google-chrome",
		}
	}
	return []string{"/usr/lib/chromium/chromium-headless-shell", "chromium-headless-shell", "chrome-headless-shell"}
}

func find(engine scenario.Engine, explicit string) (string, error) {
	candidates := places(engine)
	if explicit != "" {
		candidates = []string{explicit}
	}
	for _, candidate := range candidates {
		if path, err := exec.LookPath(candidate); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find chromium: %w: engine %s: looked for %s; on Debian: %s",
		ErrNotFound, engine, strings.Join(candidates, ", "), InstallCommand)
}

// Version returns the version of the engine that scenarios get by default, such as "Chromium 156.0.8078.79".
func (in *Installation) Version(ctx context.Context) (string, error) {
	path, ok := in.binaries[scenario.EngineShell]
	if !ok {
		path = in.binaries[scenario.EngineFull]
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// roomy reports whether a file system has the room that Chromium wants for its shared memory; containers give 64 MiB by default.
func roomy(path string) bool {
	const want = 512 << 20
	var st syscall.Statfs_t
	return syscall.Statfs(path, &st) == nil && st.Bavail*uint64(st.Bsize) >= want
}
