"""`bert-tf run_classifier` under the release's name."""

import sys

from bert_tf.tools.run_classifier import main

if __name__ == "__main__":
    sys.exit(main())
