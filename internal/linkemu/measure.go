package linkemu

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"lastmile/internal/linkemu/trial"
	"lastmile/internal/netprofile"
)

// Measurement is what became of the trial of a network.
type Measurement = trial.Report

// Measure proves an emulated network with real TCP against a server of its own on 127.0.0.1: on two links, one for the transfer in each
// direction, so that neither waits behind the other's queue. A transfer is measured for as long as period, once it is up to speed. It
// does not heed the emulator's own policy on addresses, and reaches nothing but that server. An error means that nothing could be tried.
func (e *Emulator) Measure(ctx context.Context, p netprofile.Profile, period time.Duration) (*Measurement, error) {
	own := New(e.log, Options{
		AllowNets: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Seed:      e.options.Seed,
		resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("only this machine's own names are asked for")
		}},
	})
	var down, up *trial.Sample
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		down, err = own.try(ctx, p, trial.Down, period)
		return err
	})
	group.Go(func() (err error) {
		up, err = own.try(ctx, p, trial.Up, period)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	within := toleranceOf(p)
	return trial.Judge(p, period, down, up, trial.Bounds{
		RoundTrip:     func(n int) time.Duration { return rttTolerance(p, n) },
		Late:          within.late,
		Stalled:       within.share,
		LossDeviation: func(n float64) float64 { return lossDeviation(p, n) },
	}), nil
}

// try opens a network for one trial.
func (e *Emulator) try(ctx context.Context, p netprofile.Profile, d trial.Direction, period time.Duration) (*trial.Sample, error) {
	network, err := e.Open(ctx, p, nil)
	if err != nil {
		return nil, err
	}
	defer network.Close()
	began := time.Now()
	sample, err := trial.Run(ctx, network, p, d, period)
	if err != nil {
		return nil, err
	}
	network.Judge("trial", began, time.Now())
	sample.Link = network.Close()
	return sample, nil
}
