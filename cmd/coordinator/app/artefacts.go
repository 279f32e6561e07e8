package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lastmile/cmd/coordinator/coordination"
	"lastmile/internal/bus"
	"lastmile/internal/cli"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// artefactsCommand says what has been kept of a run, and fetches what the hub has.
type artefactsCommand struct {
	RunID     string `arg:"" help:"Run, such as checkout.eu.3g.1700000000: as in logs and results."`
	Out       string `help:"Directory to fetch into what is at the hub." type:"path"`
	NATS      string `name:"nats" help:"Address of the hub." default:"nats://127.0.0.1:4222"`
	NATSToken string `name:"nats-token" help:"Token for the hub. Better given as LASTMILE_NATS_TOKEN."`
}

// artefactsTime bounds the command.
const artefactsTime = 30 * time.Second

// Run implements the command.
func (c *artefactsCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	id := runs.ID(c.RunID)
	of, _, err := id.Parse()
	if err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, artefactsTime)
	defer cancel()
	log := root.Logger(streams.Err)
	hub, err := bus.Connect(ctx, log, bus.Options{URL: c.NATS, Token: c.NATSToken, Name: "artefacts"})
	if err != nil {
		return err
	}
	defer coordination.CloseHub(log, hub)
	results, err := hub.Results(ctx, id)
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return &cli.Status{Code: cli.ExitFailed, Err: fmt.Errorf("artefacts: got no result of run %s at the hub, want one: it may still be under way, or be too old", id)}
	}
	bucket := hub.Artefacts(of.Region)
	there, err := bucket.List(ctx, id)
	if err != nil {
		return err
	}
	for i := range results {
		fmt.Fprintf(streams.Out, "%s: %s, by probe %s of %s\n", id, results[i].State, results[i].Probe, of.Region)
		c.list(streams.Out, &results[i], there)
	}
	if c.Out == "" {
		return nil
	}
	get := func(name string) ([]byte, error) { return bucket.Get(ctx, id, name) }
	return c.fetch(streams.Out, results, there, get)
}

// list says what was kept of a run, and where each file is.
func (c *artefactsCommand) list(out io.Writer, r *runs.Result, there []runs.Artefact) {
	if len(r.Artefacts) == 0 {
		fmt.Fprintln(out, "  nothing was kept")
	}
	for _, a := range r.Artefacts {
		where := fmt.Sprintf("on probe %s: %s", r.Probe, a.Location)
		switch {
		case !time.Now().Before(a.ExpiresAt) && !a.ExpiresAt.IsZero():
			where = "expired " + a.ExpiresAt.Format(time.RFC3339)
		case a.Store == runs.StoreHub && !has(there, a.Name):
			where = "no longer at the hub: newer ones needed the room"
		case a.Store == runs.StoreHub:
			where = "at the hub"
		}
		fmt.Fprintf(out, "  %-24s %-10s %9s  %s\n", a.Name, a.Kind, scenario.Bytes(a.Bytes), where)
	}
	if r.ArtefactError != "" {
		fmt.Fprintf(out, "  not kept: %s\n", r.ArtefactError)
	}
}

func has(list []runs.Artefact, name string) bool {
	return slices.ContainsFunc(list, func(a runs.Artefact) bool { return a.Name == name })
}

// fetch copies what is at the hub into the directory, and holds it against what the probe said of it.
func (c *artefactsCommand) fetch(out io.Writer, results []runs.Result, there []runs.Artefact, get func(name string) ([]byte, error)) error {
	sums := map[string][]string{} // a run that was executed twice has a file of a name once
	for i := range results {
		for _, a := range results[i].Artefacts {
			sums[a.Name] = append(sums[a.Name], a.SHA256)
		}
	}
	if err := os.MkdirAll(c.Out, 0o700); err != nil {
		return fmt.Errorf("fetch artefacts: %w", err)
	}
	dir, err := os.OpenRoot(c.Out) // a name leads nowhere else
	if err != nil {
		return fmt.Errorf("fetch artefacts: %w", err)
	}
	defer func() { _ = dir.Close() }() // it is only the handle
	for _, a := range there {
		body, err := get(a.Name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		if got := hex.EncodeToString(sum[:]); !slices.Contains(sums[a.Name], got) {
			return fmt.Errorf("fetch artefact %s: got a file with SHA-256 %s, want one of %v", a.Name, got, sums[a.Name])
		}
		if err := dir.WriteFile(a.Name, body, 0o600); err != nil {
			return fmt.Errorf("fetch artefact: %w", err)
		}
		fmt.Fprintln(out, filepath.Join(c.Out, a.Name))
	}
	return nil
}
