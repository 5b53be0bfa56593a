package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"
)

// runRemote runs a command on the host of args.Connection.
func runRemote(ctx context.Context, log logger, args commandArgs, line string) (commandResult, error) {
	client, session, err := kept.session(ctx, log, args.Connection)
	if err != nil {
		return commandResult{}, err
	}
	isWell := false
	defer func() {
		discard(session)
		if isWell {
			kept.keep(args.Connection, client)
		} else {
			discard(client)
		}
	}()
	stop := context.AfterFunc(ctx, func() {
		_ = session.Signal(ssh.SIGTERM)
		_ = client.Close()
	})
	defer stop()

	for _, v := range args.environment() {
		if err := session.Setenv(v.name, v.value); err != nil {
			return commandResult{}, fmt.Errorf("could not set environment variable %q: %w. %s", v.name, err, acceptEnv)
		}
	}
	for _, v := range args.previousOutput(ctx, log) {
		if err := session.Setenv(v.name, v.value); err != nil {
			log.warn(ctx, fmt.Sprintf("Unable to set '%s'. %s", v.name, acceptEnv))
		}
	}
	if args.Stdin != "" {
		session.Stdin = strings.NewReader(args.Stdin)
	}
	output := newOutput(ctx, log, args.Logging)
	session.Stdout, session.Stderr = output.out, output.err
	err = session.Run(line)
	var missing *ssh.ExitMissingError
	var failed *ssh.ExitError
	// A command that is cancelled closes its client, now or a moment later.
	isWell = stop() && (err == nil || errors.As(err, &failed))
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.As(err, &missing):
		err = fmt.Errorf("the connection to %s was lost while the command ran, which may have gone on there: see that "+
			"the host is on and reachable, then run the same command again: %w", args.Connection.address(), err)
	}
	return output.finish(err, line)
}

const acceptEnv = "The SSH server accepts only variables that its AcceptEnv names; " +
	"a shell also takes them before the command: 'NAME=value command'."

// discard closes what is of no use any more, so that an error in doing so means nothing.
func discard(c io.Closer) { _ = c.Close() }
