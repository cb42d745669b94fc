"""The command line: one file a verb, each with a click command that reads arguments and a `run` that does the work.

`main` lists the verbs and loads a module when its verb is asked for, so that `git lepton --version`, the filter and
the hooks never pay for what they do not use. `boundary` is where errors become text and exit codes.
"""
