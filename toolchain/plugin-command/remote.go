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
	client, err := args.Connection.dial(ctx, log)
	if err != nil {
		return commandResult{}, err
	}
	defer discard(client)
	session, err := client.NewSession()
	if err != nil {
		return commandResult{}, err
	}
	defer discard(session)
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
