"""The lake in a bucket: landing as Firehose writes it, tables as publishing does."""
