"""One module per Lambda, each with `lambda_handler(event, context)`."""
