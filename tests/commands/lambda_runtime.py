"""What Lambda does with a function, in a Python that sees the standard library, the function's folder and boto3 only.

    python -I -S lambda_runtime.py FOLDER BOTO3 HANDLER [EVENT.json]...

Prints, as JSON, the CPU seconds of the import and the answers to the events.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path

task, runtime, handler, *events = sys.argv[1:]
sys.path[:0] = [task]
sys.path.append(runtime)
module, _, function = handler.rpartition(".")
began = time.process_time()
handle = getattr(import_module(module), function)
imported = time.process_time() - began
answers = [json.loads(json.dumps(handle(json.loads(Path(event).read_text()), None))) for event in events]
print(json.dumps({"import_seconds": imported, "answers": answers}))
