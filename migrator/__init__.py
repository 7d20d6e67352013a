"""Gets the files out of an issue tracker: bulk backup into an archive, and replay into another tracker.

The map: what each module or package may import of the others. `tests/test_house.py` holds the code to it.

    model, errors, dates        <- nothing
    filenames, hints, printable <- nothing
    progress, units, whole_file <- nothing
    first_use                   <- nothing
    ports                       <- model, errors
    sniffing                    <- model, ports, printable
    selection                   <- model, errors, hints
    mapping                     <- model, errors, hints, printable, whole_file
    store                       <- model, errors, dates, first_use, units
    config                      <- errors, filenames, first_use, hints, printable, units, mapping
    wire                        <- model, errors, ports, sniffing, units
    layers, trackers            <- model, errors, ports, sniffing, wire
    pipeline                    <- model, errors, filenames, first_use, hints, printable, units, whole_file, ports,
                                   progress, selection, mapping, store
    sandbox                     <- nothing
    testing                     <- model, errors, ports
    jobs                        <- everything

- `model` has the words as types, `errors` what can go wrong, `ports` the interface between trackers and jobs.
- `units` reads and writes quantities: sizes, rates, durations, shares, counts, dates. `hints` says which word somebody
  may have meant, `printable` makes text safe to show, `whole_file` writes a file whole or not at all,
  `first_use` imports what few commands need when it is used.
- `sniffing` looks at bodies: a login page, an error message, or the file?
- `wire` speaks HTTP to one tracker: a request becomes an answer or one of our errors.
- `trackers` holds a package for each tracker, and the toolbox that they share.
- `layers` is behaviour around any tracker: retries, checks of what came, a dry run.
- `store` is an archive: blobs, catalog, journal, lock. Nothing above opens a file of it. Its `port` says what a place
  for blobs must do: the archive's own folder, or a bucket (`objects`). Its `catalog.changed_content` decides when the
  content of a file counts as another one.
- `mapping` says which target entity each source entity becomes; `config` reads the TOML file.
- `pipeline` has the jobs as stories, `jobs` the commands around them; here it is a link to the folder beside this one.
- `sandbox` has embedded trackers for demo and tests: they know nothing of the rest, and must not.
- `testing` has the contract suites that every adapter passes, ours and those of other distributions; it needs pytest.

Read in this order: `ports`, `pipeline.backup`, `trackers.memory`, `trackers.redmine`, `layers.retry`, `store.catalog`.
"""

__version__ = "0.1.0"
